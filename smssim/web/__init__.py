"""The live page: a web server in the process of a monitor or a watcher, which shows runs and changes nothing.

Start reading at `page`. Only `serving`, `app` and `answers` import starlette and uvicorn, when a page is opened.
"""
