"""The dashboard: runs, flows and health in a browser, rendered here, without JavaScript.

    from pgflow.web import dashboard

    app.mount("/pgflow", dashboard(client))

`pgflow dashboard` serves it by itself. See docs/how-to/watch-in-a-browser.md.
"""

from pgflow.web.app import dashboard

__all__ = ["dashboard"]
