#!/usr/bin/env bash
# Installs what the tests need and Node.js, npm and Rust do not bring: a C linker, Redis, OpenSSL and a browser. Only what is
# missing, from Debian's own archive.
set -euo pipefail

declare -A packages=([cc]=build-essential [redis-server]=redis-server [openssl]=openssl [chromium]=chromium)

missing=()
for program in "${!packages[@]}"; do
  command -v "$program" >/dev/null || missing+=("${packages[$program]}")
done

if [ "${#missing[@]}" -gt 0 ]; then
  as_root=()
  [ "$(id -u)" -eq 0 ] || as_root=(sudo)
  echo "Installing ${missing[*]}"
  "${as_root[@]}" apt-get update
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
fi

if ! cargo clippy --version >/dev/null 2>&1 || ! cargo fmt --version >/dev/null 2>&1; then
  rustup component add clippy rustfmt
fi
