"""The web API and the gallery: an ASGI application on one `SiglipClient`.

`app.create_app` puts it together; a module here is a family of routes, and `static/` is the gallery's page. Routes
check what a request says, call the client, and describe what comes back; they know no SQL.
"""
