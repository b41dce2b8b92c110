# Sourced by tools/demo and tools/test, in the root of the project.

venv=.venv

# The last argument is this project with its extras; pip gets the others, too.
install() {
  local python=${PYTHON-python3}
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || {
    echo "error: Python 3.10 or newer is needed. Received: $("$python" --version)." \
      "Set PYTHON to another interpreter." >&2
    exit 1
  }
  [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
  echo "Installing $* in $venv (a few minutes the first time)"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    --editable "${@: -1}" "${@:1:$#-1}"
}
