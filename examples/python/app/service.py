"""A web service that says what it was asked."""
from bottle import route, run, template


def render(name):
    return template("hello, {{name}}", name=name)


@route("/")
@route("/<name>")
def index(name="world"):
    return render(name)


if __name__ == "__main__":
    run(host="0.0.0.0", port=8000)
