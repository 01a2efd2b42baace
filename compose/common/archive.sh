#!/bin/sh
# What a server in a container runs as archive_command and restore_command, with the guarantees of
# rpitr archive-push and archive-fetch. Written by rpitr; needs a shell and the usual small programs.
#
# usage: rpitr-archive archive-push ARCHIVE PATH NAME
#   0: the file is in the archive, whole and on disk; 1: it is not.
# usage: rpitr-archive archive-fetch ARCHIVE VERDICTS LOG NAME DEST
#   0: the verified file is in place; 1: it was proved not to exist; 255: anything else.
#
# WAL records cannot be checked by a shell. rpitr reads the archive before a recovery and writes down
# what it found (VERDICTS): NAME ok SIZE SHA256, NAME no CODE REASON, NAME gone CODE REASON, NAME absent,
# NAME tail SIZE SHA256 FILE: absent, and FILE, a snapshot of what was being received, stands in for it.
set -u
LC_ALL=C
export LC_ALL
umask 027

is_hex() {
    case $1 in '' | *[!0-9A-F]*) return 1 ;; esac
    [ ${#1} -eq "$2" ]
}

kind_of() {
    case $1 in
    *.history) is_hex "${1%.history}" 8 && echo history ;;
    *.partial) is_hex "${1%.partial}" 24 && echo partial ;;
    *.*.backup)
        b=${1%.backup}
        is_hex "${b%.*}" 24 && is_hex "${b#*.}" 8 && echo backup
        ;;
    *) is_hex "$1" 24 && echo segment ;;
    esac
}

size_of() { wc -c <"$1" | tr -d ' '; }
# number BYTES OFFSET FILE
number() { od -A n -t "u$1" -j "$2" -N "$1" "$3" | tr -d ' \n'; }
put_on_disk() { sync "$1"; }

die() {
    echo "rpitr archive-push: $*" >&2
    exit 1
}

same() {
    if command -v cmp >/dev/null 2>&1; then
        cmp -s "$1" "$2"
    else
        a=$(sha256sum <"$1") && b=$(sha256sum <"$2") && [ -n "$a" ] && [ "$a" = "$b" ]
    fi
}

# A segment must be what its name says, and of the cluster the archive belongs to.
check_segment() {
    bytes=$(size_of "$path")
    [ "$bytes" -ge 8192 ] || die "$name has $bytes bytes instead of a segment's"
    [ "$(($(number 2 2 "$path") & 2))" -ne 0 ] || die "$name does not begin with a WAL page header"
    segment=$(number 4 32 "$path")
    system=$(number 8 24 "$path")
    [ "$bytes" = "$segment" ] || die "$name has $bytes bytes instead of $segment"
    hex=${name%.partial}
    timeline=${hex%????????????????}
    rest=${hex#????????}
    start=$((0x${rest%????????} * 4294967296 + 0x${rest#????????} * segment))
    [ "$(number 8 8 "$path")" = "$start" ] || die "$name holds WAL from another position: it is misnamed"
    [ "$(number 4 4 "$path")" -le $((0x$timeline)) ] || die "$name begins with a page of a later timeline"
    major=$(cat PG_VERSION 2>/dev/null) || die "PG_VERSION cannot be read: not in a data directory"
    identity="$archive/.rpitr-archive.json"
    if [ ! -e "$identity" ]; then
        new "{\"version\":1,\"system_id\":\"$system\",\"segment_size\":$segment,\"major\":$major}"
        ln "$temp" "$identity" 2>/dev/null || [ -e "$identity" ] || die "cannot write $identity"
        rm -f "$temp"
    fi
    known=$(sed -n 's/.*"system_id":"\([0-9]*\)".*/\1/p' "$identity")
    [ "$known" = "$system" ] || die "$name belongs to cluster $system, but the archive belongs to cluster $known"
    known=$(sed -n 's/.*"segment_size":\([0-9]*\).*/\1/p' "$identity")
    [ "$known" = "$segment" ] || die "$name has $segment bytes instead of $known"
    known=$(sed -n 's/.*"major":\([0-9]*\).*/\1/p' "$identity")
    [ "$known" = "$major" ] || die "$name comes from PostgreSQL $major, but the archive holds WAL of PostgreSQL $known"
}

# A temporary file nobody else writes; with content if any is given.
new() {
    temp="$archive/.rpitr-tmp.$name.$(uname -n).$$.$(date +%s)"
    (set -C && : >"$temp") 2>/dev/null || die "cannot create a file in $archive"
    trap 'rm -f "$temp"' EXIT
    if [ -n "${1:-}" ]; then
        printf '%s\n' "$1" >"$temp" && put_on_disk "$temp" || die "cannot write to $archive"
    fi
}

already() {
    [ -f "$target" ] && same "$path" "$target" || die "$name is already in the archive with different content"
    # The push that wrote it may have died before it was on disk.
    put_on_disk "$target" && put_on_disk "$archive" || die "cannot flush $target"
    exit 0
}

# log_fault WHAT BYTES: a line for each push since a fault was planted.
log_fault() { echo "$number $name $1 $2 $bytes" >>"$fault.log"; }

# Does what the fault planted in the archive, if there is one, does to this push; see src/archive/sabotage.rs.
sabotage() {
    fault="$archive/.rpitr-fault"
    [ -r "$fault" ] || return 0
    read -r mode from count limit <"$fault" || return 0
    number=1 used=0 bytes=$(size_of "$path") hit=
    if [ -e "$fault.log" ]; then
        number=$(($(wc -l <"$fault.log") + 1))
        while read -r _ _ _ b _; do used=$((used + b)); done <"$fault.log"
    fi
    if [ "$mode" = full ]; then
        if [ $((used + bytes)) -gt "$limit" ]; then hit=full; fi
    elif [ "$number" -ge "$from" ] && [ $((number - from)) -lt "$count" ]; then hit=$mode; fi
    if [ -e "$archive/$name" ]; then case $hit in lie | partial | full) hit='' ;; esac; fi
    case $hit in
    fail) log_fault failed 0; die "cannot archive $name: planted fault" ;;
    hang)
        log_fault hung 0
        while [ -e "$fault" ]; do sleep 0.05; done
        die "cannot archive $name: planted fault: hung"
        ;;
    lie)
        held="$archive/.rpitr-lied.$name"
        cp "$path" "$held.new" && put_on_disk "$held.new" && mv -f "$held.new" "$held" || die "planted fault: cannot copy $name"
        log_fault lied 0
        exit 0
        ;;
    partial)
        if [ "$limit" -ge "$bytes" ]; then limit=$((bytes - 1)); fi
        log_fault partial "$limit"
        head -c "$limit" "$path" >"$archive/$name"
        die "cannot archive $name: planted fault: stopped after $limit bytes"
        ;;
    full) log_fault full 0; die "cannot archive $name: No space left on device (planted fault)" ;;
    esac
    if [ -e "$archive/$name" ]; then log_fault honest 0; else log_fault honest "$bytes"; fi
}

push() {
    archive=$1 path=$2 name=$3
    sabotage
    kind=$(kind_of "$name") || die "\"$name\" is not the name of a WAL file"
    [ -r "$path" ] || die "cannot open $path"
    # A missing mount must not become a directory that is lost.
    ls -a "$archive" >/dev/null || die "cannot open archive $archive"
    case $kind in
    segment | partial) check_segment ;;
    backup) IFS= read -r line <"$path"; case $line in 'START WAL LOCATION'*) ;; *) die "$name is not a backup history file" ;; esac ;;
    history) grep -q '^[0-9]' "$path" || die "$name is not a history file" ;;
    esac
    target="$archive/$name"
    if [ -e "$target" ] || [ -L "$target" ]; then already; fi
    case $name in
    *0) find "$archive" -name '.rpitr-tmp.*' -type f -mmin +10 -exec rm -f {} + 2>/dev/null ;;
    esac
    new
    dd if="$path" of="$temp" bs=1048576 conv=fsync 2>"$temp.err" || {
        cat "$temp.err" >&2
        rm -f "$temp.err"
        die "cannot write $name to $archive"
    }
    rm -f "$temp.err"
    same "$path" "$temp" || die "the copy of $name differs from $path"
    # A link fails when the name exists: of two that race, one loses.
    if ! ln "$temp" "$target" 2>/dev/null; then
        rm -f "$temp"
        if [ -e "$target" ]; then already; fi
        die "cannot write $target"
    fi
    rm -f "$temp"
    put_on_disk "$archive" || die "cannot flush $archive"
    exit 0
}

# done_with CODE RESULT REASON-CODE REASON BYTES: writes the log line and ends.
done_with() {
    if [ -n "$3" ]; then
        text=$(printf '%s' "$4" | sed 's/[\\"]/\\&/g')
        why="\"code\":\"$3\",\"reason\":\"$text\""
    else
        why='"code":null,"reason":null'
    fi
    printf '{"name":"%s","result":"%s",%s,"bytes":%s,"micros":0}\n' "$name" "$2" "$why" "$5" >>"$log" ||
        echo "rpitr archive-fetch: cannot write log $log" >&2
    [ "$1" -le 1 ] || echo "rpitr archive-fetch: $4" >&2
    exit "$1"
}

refuse() { done_with 255 refused "$1" "$2" 0; }

fetch() {
    archive=$1 verdicts=$2 log=$3 name=$4 dest=$5
    kind=$(kind_of "$name") || refuse name "\"$name\" is not the name of a WAL file"
    [ -r "$verdicts" ] || refuse unverified "the verdicts on $archive cannot be read"
    found='' code='' reason=''
    while read -r n v c r; do
        if [ "$n" = "$name" ]; then found=$v code=$c reason=$r; fi
    done <"$verdicts"
    [ "$found" != no ] || refuse "$code" "$reason"
    source="$archive/$name"
    if [ "$found" = tail ] && [ ! -e "$source" ] && [ ! -L "$source" ]; then
        source=${reason#* } reason=${reason%% *} found=ok
        [ -r "$source" ] || refuse missing_segment "snapshot $source cannot be read"
    fi
    if [ ! -e "$source" ] && [ ! -L "$source" ]; then
        listed=$(ls -a "$archive") || refuse io "cannot list archive $archive"
        case $found in
        gone) refuse "$code" "$reason" ;;
        ok) refuse missing_segment "$name was in the archive when rpitr read it, and is missing" ;;
        esac
        for suffix in gz zst lz4 bz2 xz; do
            [ ! -e "$source.$suffix" ] || refuse compressed "$name is in the archive only as $name.$suffix"
        done
        if [ -z "$found" ] && [ "$kind" = segment ]; then
            last=
            for f in "$archive/${name%????????????????}"????????????????; do last=${f##*/}; done
            if is_hex "$last" 24 && expr "x$last" \> "x$name" >/dev/null; then
                refuse missing_segment "$name is missing from the archive: $last is there"
            fi
        fi
        done_with 1 absent absent "$name is not in the archive" 0
    fi
    [ "$found" = ok ] || refuse unverified "$name came into the archive after rpitr read it"
    temp="$dest.rpitr-tmp.$$"
    trap 'rm -f "$temp"' EXIT
    cp "$source" "$temp" || refuse io "cannot copy $source"
    # What is checked is the copy: exactly the bytes PostgreSQL gets.
    sum=$(sha256sum <"$temp") || refuse unverified "sha256sum failed: $name cannot be verified"
    [ "${sum%% *}" = "$reason" ] && [ "$(size_of "$temp")" = "$code" ] ||
        refuse changed "$name is not what it was when rpitr read it"
    mv -f "$temp" "$dest" || refuse io "cannot write $dest"
    done_with 0 fetched '' '' "$code"
}

command=${1:-}
case $command/$# in
archive-push/4)
    shift
    push "$@"
    ;;
archive-fetch/6)
    shift
    fetch "$@"
    ;;
esac
echo "usage: rpitr-archive archive-push ARCHIVE PATH NAME | archive-fetch ARCHIVE VERDICTS LOG NAME DEST" >&2
[ "$command" = archive-fetch ] && exit 255
exit 1
