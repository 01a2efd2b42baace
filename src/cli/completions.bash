
# The drills that come with rpitr, and the flags each of them declares: asked from rpitr itself.
_rpitr_drills() {
    _rpitr "$@"
    local word="${COMP_WORDS[COMP_CWORD]}" at=1 drills
    [[ ${COMP_WORDS[1]} =~ ^(run|help|check)$ ]] && at=2
    [[ $COMP_CWORD -ge $at ]] || return 0
    drills="$("$1" list 2>/dev/null | cut -d' ' -f1)"
    if [[ $COMP_CWORD -eq $at ]]; then
        [[ $word == -* ]] || COMPREPLY+=($(compgen -W "$drills" -- "$word"))
    elif [[ $word == -* ]] && grep -qxF -e "${COMP_WORDS[at]}" <<<"$drills"; then
        local flags="$("$1" help "${COMP_WORDS[at]}" 2>/dev/null | sed -n 's/^  \(--[a-z0-9-]*\).*/\1/p')"
        COMPREPLY+=($(compgen -W "$flags" -- "$word"))
    fi
}
complete -F _rpitr_drills -o bashdefault -o default rpitr
