#!/bin/sh
# Sets everything up: uv (into .tools, nothing outside this folder), the locked environment (.venv), and the
# system's EGL library when it is missing. Run again at any time: what is there already is left alone.
set -eu
cd "$(dirname "$0")/.."

say() { printf '%s\n' "setup: $*" >&2; }

uv=$(command -v uv || true)
if [ -z "$uv" ]; then
  uv=.tools/bin/uv
  if [ ! -x "$uv" ]; then
    python=$(command -v python3 || command -v python) || { say "Python 3.11 or newer is needed: apt-get install python3 python3-pip"; exit 1; }
    "$python" -m pip --version >/dev/null 2>&1 || { say "pip is needed: apt-get install python3-pip"; exit 1; }
    say "installing uv into .tools"
    "$python" -m pip install --quiet --disable-pip-version-check --target .tools uv 2>&1 | grep -v "running pip as the 'root'" >&2 || true
    [ -x "$uv" ] || { say "uv could not be installed; see the messages above"; exit 1; }
  fi
fi

extras=${EXTRAS:-}
if command -v nvidia-smi >/dev/null 2>&1; then extras="$extras --extra cuda"; fi
# shellcheck disable=SC2086
"$uv" sync --locked --inexact --quiet $extras # inexact: what you added to the environment stays

if [ "$(uname -s)" = Linux ] && ! ldconfig -p 2>/dev/null | grep -q 'libEGL\.so\.1'; then
  packages="libegl1 libopengl0 libgl1-mesa-dri"
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    say "installing $packages (EGL: draws frames without a display)"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages; } >/dev/null \
      || say "that failed; pixels need: apt-get install $packages (state observations work without)"
  else
    say "EGL is missing; pixels need: sudo apt-get install $packages (state observations work without)"
  fi
fi
