"""A page that draws somebody's model card; served by test_browser.py, `?raw=1` without our cleaning."""

import streamlit as st

from app.kit.plain import card

CARD = """# Flight delay

[a paper](https://example.org/paper)

![tracking](http://evil.example/a.png)
![ref][e]
<img src="http://evil.example/b.png" onerror="window.ran = 1">
<script>window.ran = 2</script>
<iframe src="http://evil.example/"></iframe>

[run me](javascript:window.ran=3)
[run me](JaVaScRiPt:window.ran=4)
[run me](java&#x0A;script:window.ran=5)
[run me](&#106;avascript:window.ran=6)
[run me](data:text/html,<script>window.ran=7</script>)
[run me](vbscript:window.ran=8)

:green-badge[:material/check_circle: Approved]

```
![in code](http://evil.example/c.png)
```

[e]: http://evil.example/d.png
"""

st.markdown(CARD if st.query_params.get("raw") else card(CARD))
st.markdown("end of the card")
