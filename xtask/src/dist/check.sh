#!/bin/sh
# Tries the packages in a clean Debian root, as root there; what users do is done as user 1000.
#
#   check.sh ROOT VERSION DEB ARCHIVE PAGE...
#
# ROOT is `user` or `bare`, PAGE a file of a manual page. Each check that holds is a line; the first that does not ends
# it with 1.
set -eu
umask 022
root=$1
version=$2
deb=/srv/packages/$3
archive=/srv/packages/$4
shift 4
pages=$*
programs="create-uefi-config encrypt-cloud-image print-recovery-key"

holds() { echo "  $*"; }
fails() {
    echo "  FAILED: $*" >&2
    exit 1
}
as_user() {
    setpriv --reuid=1000 --regid=1000 --clear-groups --inh-caps=-all --bounding-set=-all \
        env HOME=/home/user PATH="${user_path:-/usr/local/bin:/usr/bin:/bin}" "$@"
}
mkdir -p /home/user
chown 1000:1000 /home/user /srv/out

# --- What is tried -----------------------------------------------------------------------------------

digests_are_right() {
    (cd /srv/packages && sha256sum --check --quiet SHA256SUMS) || fails "SHA256SUMS"
    holds "SHA256SUMS has the digests of the packages"
}

programs_start() { # FOLDER, where they are to be
    for program in $programs; do
        found=$(as_user sh -c "command -v $program") || fails "$program is not found"
        [ "$found" = "$1/$program" ] || fails "$program is $found"
        as_user "$program" --help >/tmp/help || fails "$program --help"
        grep -q "^Usage: $program" /tmp/help || fails "$program --help: $(cat /tmp/help)"
        told=$(as_user "$program" --version)
        [ "$told" = "$program $version" ] || fails "$program --version: $told"
    done
    head -c 16 /dev/zero >/tmp/key
    told=$(as_user print-recovery-key /tmp/key)
    [ "$told" = 00000-00000-00000-00000-00000-00000-00000-00000 ] || fails "print-recovery-key: $told"
    holds "--help and --version of $version: $programs"
}

image_is_encrypted() {
    as_user encrypt-cloud-image encrypt -o /srv/out/encrypted.img /srv/disk.img >/tmp/talk 2>&1 ||
        fails "encrypt: $(cat /tmp/talk)"
    [ "$(stat -c %a:%u /srv/out/encrypted.img)" = 600:1000 ] || fails "encrypted.img: $(stat /srv/out/encrypted.img)"
    chown -R 0:0 /srv/out
    holds "an ordinary user without capabilities encrypts the image: $(tail -n 1 /tmp/talk)"
}

manual_is_found() { # FOLDER of the pages
    # A line that holds one long word cannot be adjusted (break), and is right nevertheless.
    for page in $pages; do
        name=${page%.1}
        found=$(as_user man -w 1 "$name") || fails "there is no manual page $name"
        [ "$(readlink -f "$found")" = "$1/$page.gz" ] || fails "the manual page $name is $found"
        as_user env MANROFFOPT='-ww -Wbreak' man 1 "$name" >/tmp/page 2>/tmp/warnings || fails "man $name: $(cat /tmp/warnings)"
        [ ! -s /tmp/warnings ] || fails "man $name: $(cat /tmp/warnings)"
        grep -q "^NAME" /tmp/page || fails "man $name shows: $(head /tmp/page)"
    done
    holds "man shows $(echo "$pages" | wc -w) pages, without a warning"
}

shells_complete() {
    for program in $programs; do
        as_user bash -c '
            . /usr/share/bash-completion/bash_completion
            _comp_load "$1" 2>/dev/null || _completion_loader "$1" 2>/dev/null
            function=$(complete -p "$1" | sed "s/.* -F \([^ ]*\) .*/\1/")
            COMP_WORDS=("$1" --he) COMP_CWORD=1 COMP_LINE="$1 --he" COMP_POINT=$((${#1} + 5))
            $function "$1" --he "$1"
            printf "%s\n" "${COMPREPLY[@]}"' bash "$program" >/tmp/words || fails "bash does not complete $program"
        grep -qx -- --help /tmp/words || fails "bash completes $program --he to: $(cat /tmp/words)"
        as_user zsh -f -c '
            autoload -Uz compinit && compinit -D -u
            autoload +X "_$1" && print -r -- "$_comps[$1]"' zsh "$program" >/tmp/words || fails "zsh: $program"
        grep -qx "_$program" /tmp/words || fails "zsh completes $program by: $(cat /tmp/words)"
        as_user fish -c "complete --do-complete '$program --he'" >/tmp/words || fails "fish: $program"
        grep -q "^--help" /tmp/words || fails "fish completes $program --he to: $(cat /tmp/words)"
    done
    as_user fish -c 'complete --do-complete "encrypt-cloud-image depl"' | grep -q ^deploy || fails "fish: deploy"
    holds "bash, zsh and fish complete each program"
}

documents_are_there() { # FOLDER FILE...
    folder=$1
    shift
    for file in README.md docs/howto.md docs/reference/encrypt-cloud-image.md docs/security.md "$@"; do
        [ -s "$folder/$file" ] || fails "$folder/$file is missing"
    done
    holds "$folder has the documents and licences"
}

nothing_is_left() {
    left=$(find / -xdev \( -path /srv -o -path /proc -o -path /dev -o -path /tmp \) -prune -o \
        \( -name '*encrypt-cloud-image*' -o -name '*create-uefi-config*' -o -name '*print-recovery-key*' \) -print |
        grep -v ^/home/user/.local/share/fish || true)
    [ -z "$left" ] || fails "left after the removal: $left"
    holds "nothing is left of it"
}

static_programs_load_nothing() { # FOLDER
    for program in $programs; do
        ! ldd "$1/$program" >/tmp/ldd 2>&1 || grep -q 'statically linked' /tmp/ldd || fails "$program loads: $(cat /tmp/ldd)"
    done
    holds "the programs load no library"
}

archive_documents_are_there() { # FOLDER
    documents_are_there "$1" CHANGELOG.md LICENSE-APACHE LICENSE-MIT NOTICE third-party-licenses.txt \
        rust-standard-library.html licenses/LGPL-2 licenses/LGPL-2.1 licenses/e2fsprogs-copyright licenses/glibc-copyright
    grep -q 'STATICALLY LINKED LIBRARIES' "$1/NOTICE" || fails "the NOTICE does not say what it has to"
}

# --- The roots ---------------------------------------------------------------------------------------

digests_are_right
case $root in
user)
    echo "The Debian package:"
    apt-get install --yes --quiet=2 -o Dpkg::Use-Pty=0 "$deb" >/tmp/apt 2>&1 || fails "apt-get: $(cat /tmp/apt)"
    [ -z "$(dpkg --verify encrypt-cloud-image)" ] || fails "dpkg --verify: $(dpkg --verify encrypt-cloud-image)"
    ldd /usr/bin/encrypt-cloud-image | grep -q 'libext2fs.so.2 => /' || fails "libext2fs is not loaded"
    holds "apt-get installs it; it loads the system's libext2fs"
    programs_start /usr/bin
    manual_is_found /usr/share/man/man1
    shells_complete
    documents_are_there /usr/share/doc/encrypt-cloud-image copyright changelog.gz changelog.Debian.gz \
        third-party-licenses.txt.gz rust-standard-library.html.gz
    image_is_encrypted
    apt-get purge --yes --quiet=2 -o Dpkg::Use-Pty=0 encrypt-cloud-image >/tmp/apt 2>&1 || fails "apt-get: $(cat /tmp/apt)"
    nothing_is_left

    echo "The archive, below /usr/local:"
    tar --extract --directory /usr/local --strip-components=1 --no-same-owner --file "$archive"
    mandb --quiet
    export XDG_DATA_DIRS=/usr/local/share:/usr/share # as on a desktop: fish looks below /usr/local only then
    programs_start /usr/local/bin
    static_programs_load_nothing /usr/local/bin
    manual_is_found /usr/local/share/man/man1
    shells_complete
    archive_documents_are_there /usr/local/share/doc/encrypt-cloud-image
    ;;
bare)
    ! ls /usr/lib/*/libext2fs.so* /lib/*/libext2fs.so* 2>/dev/null || fails "this root has libext2fs"
    ! dpkg --install "$deb" >/tmp/dpkg 2>&1 || fails "dpkg installs the package without libext2fs"
    grep -q 'depends on libext2fs2' /tmp/dpkg || fails "dpkg refuses otherwise: $(cat /tmp/dpkg)"
    dpkg --purge encrypt-cloud-image >/dev/null 2>&1
    holds "without libext2fs dpkg refuses the Debian package"

    echo "The archive, in a user's home:"
    as_user mkdir /home/user/.local
    as_user tar --extract --directory /home/user/.local --strip-components=1 --file "$archive"
    user_path=/home/user/.local/bin:/usr/bin:/bin
    programs_start /home/user/.local/bin
    static_programs_load_nothing /home/user/.local/bin
    archive_documents_are_there /home/user/.local/share/doc/encrypt-cloud-image
    image_is_encrypted
    ;;
*) fails "there is no root $root" ;;
esac
