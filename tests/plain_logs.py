"""What tests log where nothing else was configured: tracebacks as Python writes them.

structlog's default draws each of them in colours, with every local variable of every frame: 20 s of work for one of the API's.
"""

import structlog


def configure() -> None:
    """Configures the logs of this process as every test finds them."""
    structlog.reset_defaults()
    *before, _ = structlog.get_config()["processors"]
    drawn = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*before, drawn])
