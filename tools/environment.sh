# Sourced by tools/demo, tools/docs and tools/test, in the root of the project.

venv=.venv

# uv takes pip's index and links, too; of further indices pip alone knows.
use_settings_of_pip() {
  local setting value
  for setting in index-url:UV_DEFAULT_INDEX find-links:UV_FIND_LINKS; do
    value=PIP_$(tr a-z- A-Z_ <<<"${setting%:*}")
    value=${!value-$("$1" -m pip config get "global.${setting%:*}" \
      2>/dev/null || true)}
    [ -z "$value" ] || export "${setting#*:}=${value//$'\n'/ }"
  done
}

# The last argument is this project with its extras; others are installed, too.
install() {
  local python=${PYTHON-python3}
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || {
    echo "error: Python 3.10 or newer is needed. Received: $("$python" --version)." \
      "Set PYTHON to another interpreter." >&2
    exit 1
  }
  [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
  python=$venv/bin/python
  echo "Installing $* in $venv (a minute or two the first time)"
  # uv takes seconds where pip takes minutes.
  "$python" -m pip install --quiet --disable-pip-version-check uv
  use_settings_of_pip "$python"
  "$python" -m uv pip install --quiet --python "$python" \
    --editable "${@: -1}" "${@:1:$#-1}"
}
