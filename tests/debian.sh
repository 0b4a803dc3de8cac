#!/bin/bash
# Puts what the tests need from Debian in place.
#
# usage: debian.sh compiler   gcc, for the race detector and for peers in C
#        debian.sh clients    programs that speak to tandem: dig, fstrm_capture, kdig, sipp, baresip, curl, ...
#        debian.sh peers      daemons that it is compared with: nsd, knot, named, gdnsd, kamailio, unbound
#        debian.sh libraries  the LD_LIBRARY_PATH with which those run
#
# The compiler and the clients are installed by apt-get. The daemons never are: no service of theirs
# may be enabled or started and none may take the place of the machine's own, so their packages are
# unpacked into a cache outside the tree, with the shared libraries that the machine lacks beside
# them, and `debian.sh peers` prints that cache's path.
#
# Quick when everything is there already. Ends with one line and exit code 1 when it cannot help.
set -euo pipefail

cache=${TANDEM_DEBIAN_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/tandem/debian}

# What is looked for, and the package that brings it. A path is looked for as a file.
compiler='gcc:gcc /usr/include/stdio.h:libc6-dev'
clients='dig:bind9-dnsutils fstrm_capture:fstrm-bin kdig:knot-dnsutils sipp:sip-tester baresip:baresip-core curl:curl jq:jq
	openssl:openssl taskset:util-linux'
peers='usr/sbin/nsd:nsd usr/sbin/knotd:knot usr/sbin/named:bind9 usr/sbin/gdnsd:gdnsd usr/sbin/kamailio:kamailio
	usr/bin/kzonecheck:knot-dnssecutils usr/bin/named-checkzone:bind9-utils usr/bin/dnssec-signzone:bind9-utils
	usr/sbin/unbound:unbound'

fail() {
	echo "debian.sh: $*" >&2
	exit 1
}

# missing WANTED...: the packages of what is not there.
missing() {
	local want
	for want in "$@"; do
		case $want in
		/*) [ -e "${want%%:*}" ] || echo "${want#*:}" ;;
		*) command -v "${want%%:*}" >/dev/null || echo "${want#*:}" ;;
		esac
	done
}

# become_root: finds out how commands are run as root, or fails naming the packages it was for.
become=
become_root() {
	if [ "$(id -u)" = 0 ]; then
		become=
	elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
		become='sudo -n'
	elif command -v sudo >/dev/null && [ -t 0 ]; then
		become=sudo
	else
		fail "cannot install $wanted: neither root nor sudo without a password; install by hand: apt-get install $wanted"
	fi
}

# hold_services: keeps packages from starting services on a throw-away machine. A policy that is
# already there is the machine's own and stays.
hold_services() {
	local policy=/usr/sbin/policy-rc.d
	[ "${CI:-}" = true ] && [ ! -e $policy ] || return 0
	$become sh -c "printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy"
	held=$policy
}

# refresh: fetches the package lists, once.
refreshed=
refresh() {
	[ -z "$refreshed" ] || return 1
	refreshed=yes
	become_root
	$become apt-get update -q >"$log" 2>&1 ||
		fail "cannot get Debian's package lists for $wanted: $(grep -m1 -E '^[EW]:' "$log" || tail -n1 "$log")"
}

# install WANTED...: installs the packages of what is not there.
install() {
	local packages
	packages=$(missing "$@" | sort -u | tr '\n' ' ')
	wanted=${packages% }
	[ -n "$wanted" ] || return 0
	command -v apt-get >/dev/null || fail "cannot install $wanted: no apt-get here (Debian is what the tests are written for)"
	become_root
	echo "debian.sh: installing $wanted" >&2
	hold_services
	# shellcheck disable=SC2086
	until $become env DEBIAN_FRONTEND=noninteractive \
		apt-get install -q -y --no-install-recommends $packages >"$log" 2>&1 </dev/null; do
		refresh || fail "cannot install $wanted: $(grep -m1 '^E:' "$log" || tail -n1 "$log")"
	done
	packages=$(missing "$@" | tr '\n' ' ')
	[ -z "$packages" ] || fail "installed, but nothing useful came of it: ${packages% }"
}

# unpack PACKAGE: downloads it and unpacks it into $new.
unpack() {
	wanted=$1
	rm -rf "$new.deb" && mkdir -p "$new.deb" "$new/have"
	until (cd "$new.deb" && apt-get download -q "$1" >"$log" 2>&1); do
		refresh || fail "cannot download $1: $(grep -m1 '^E:' "$log" || tail -n1 "$log")"
	done
	dpkg -x "$new.deb"/*.deb "$new"
	dpkg-deb -f "$new.deb"/*.deb Version >"$new/have/$1"
	rm -rf "$new.deb"
}

# libraries ROOT: where packages unpacked under ROOT keep their shared libraries.
libraries() {
	local triplet
	triplet=$(uname -m)-linux-gnu
	echo "$1/usr/lib/$triplet:$1/lib/$triplet:$1/usr/lib/$triplet/kamailio"
}

# lacking: the shared libraries that what was unpacked asks for and nothing provides. Of Kamailio's
# modules only those that a relay loads count; the others may need databases.
modules='tm|tmx|sl|rr|pv|maxfwd|textops|siputils|xlog|kex|corex'
lacking() {
	find "$new"/usr/sbin "$new"/usr/lib "$new"/lib -type f 2>/dev/null |
		grep -E "/sbin/|/modules/($modules)\.so\$|\.so\." |
		LD_LIBRARY_PATH=$(libraries "$new") xargs -r ldd 2>/dev/null |
		awk '/not found/ {print $1}' | sort -u
}

# libraries_of PACKAGE...: the libraries they depend on that are neither installed nor unpacked.
libraries_of() {
	local name
	apt-cache depends --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
		--no-enhances "$@" | awk '$1 ~ /Depends:$/ && $2 ~ /^lib/ {print $2}' | sort -u |
		while read -r name; do
			[ -e "$new/have/$name" ] && continue
			dpkg-query -W -f '${Status}\n' "$name" 2>/dev/null | grep -q 'ok installed' || echo "$name"
		done
}

# unpack_peers: fills the cache, whole or not at all.
unpack_peers() {
	local want package more
	new=$cache.new
	rm -rf "$new" && mkdir -p "$new"
	for want in $peers; do
		unpack "${want#*:}"
	done
	for _ in 1 2 3 4 5; do
		[ -n "$(lacking)" ] || break
		# shellcheck disable=SC2046
		more=$(libraries_of $(ls "$new/have"))
		[ -n "$more" ] || break
		for package in $more; do
			unpack "$package"
		done
	done
	[ -z "$(lacking)" ] || fail "what was unpacked does not run: no package brings $(lacking | tr '\n' ' ')"
	for want in $peers; do
		[ -x "$new/${want%%:*}" ] || fail "package ${want#*:} has no ${want%%:*}"
	done
	rm -rf "$cache" && mv "$new" "$cache"
}

peers() {
	local want whole=yes
	for want in $peers; do
		[ -x "$cache/${want%%:*}" ] || whole=
	done
	if [ -z "$whole" ]; then
		wanted=$(for want in $peers; do echo "${want#*:}"; done | tr '\n' ' ')
		wanted=${wanted% }
		command -v apt-get >/dev/null || fail "cannot download $wanted: no apt-get here (Debian is what the tests are written for)"
		mkdir -p "$(dirname "$cache")" 2>/dev/null || fail "cannot unpack $wanted into $cache: the directory cannot be made"
		unpack_peers
	fi
	echo "$cache"
}

log=$(mktemp)
lock=${TMPDIR:-/tmp}/tandem-debian.$(id -u).lock
exec 9>"$lock" && flock 9
held=
trap 'rm -f "$log"; [ -z "$held" ] || $become rm -f "$held"' EXIT
wanted=
# shellcheck disable=SC2086
case ${1:-} in
compiler) install $compiler ;;
clients) install $clients ;;
peers) peers ;;
libraries) libraries "$cache" ;;
*) fail "usage: debian.sh compiler|clients|peers|libraries" ;;
esac
