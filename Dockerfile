# One image: `ui` serves the pages and the API, `worker` delivers, anything else is a command of countersign.
#
#   docker build -t countersign .
#   docker run --network host -v countersign:/data -e COUNTERSIGN_DEMO_IDENTITIES=true countersign migrate
#   docker run --network host -v countersign:/data -e COUNTERSIGN_DEMO_IDENTITIES=true countersign ui
#
# Without single sign-on the web app listens on loopback alone, hence the host's network (docs/web.md).
FROM python:3.11-slim-bookworm AS build
WORKDIR /srv/countersign
COPY requirements/build.lock requirements/app.lock requirements/
RUN python -m venv .venv \
    && .venv/bin/pip install --no-cache-dir --require-hashes -r requirements/build.lock \
    && .venv/bin/pip install --no-cache-dir --require-hashes --no-build-isolation -r requirements/app.lock
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY backend backend
COPY migrations migrations
COPY pages pages
COPY deploy/entrypoint deploy/entrypoint
RUN .venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation --editable . \
    && .venv/bin/python -m compileall -q app backend pages

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /data --create-home --shell /usr/sbin/nologin countersign \
    && install -d -o 10001 -g 10001 /public-keys
WORKDIR /srv/countersign
COPY --from=build /srv/countersign /srv/countersign
ENV PATH=/srv/countersign/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/data \
    COUNTERSIGN_DATA_DIR=/data
USER 10001
VOLUME /data
EXPOSE 8501
# For `ui`; compose.yaml gives the worker another one.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8501/api/v1/health', timeout=4)"]
ENTRYPOINT ["deploy/entrypoint"]
CMD ["ui"]
