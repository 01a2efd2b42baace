#!/bin/sh
# Checks the Lua code against its own comments, with whichever language server is installed. Settings: .luarc.json for
# both, .emmyrc.json for what only emmylua_check gets wrong; the reasons are in docs/architecture.md.
set -eu

checked=
if command -v lua-language-server >/dev/null; then
  lua-language-server --check=. --checklevel=Warning
  checked=yes
fi
if command -v emmylua_check >/dev/null; then
  emmylua_check . --severity warn --warnings-as-errors
  checked=yes
fi
if [ -z "$checked" ]; then
  echo "neither lua-language-server nor emmylua_check is installed: the types of the Lua code were not checked"
fi
