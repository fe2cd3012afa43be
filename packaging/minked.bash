# bash completion of minked                                  SPDX-License-Identifier: Apache-2.0
_minked() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    case $prev in
    --config-file | --pidfile | -p | --tlscacert | --tlscert | --tlskey)
        COMPREPLY=($(compgen -f -- "$cur"))
        return
        ;;
    --data-root | --exec-root)
        COMPREPLY=($(compgen -d -- "$cur"))
        return
        ;;
    -l | --log-level)
        COMPREPLY=($(compgen -W "debug info warn error fatal" -- "$cur"))
        return
        ;;
    --log-format)
        COMPREPLY=($(compgen -W "text json" -- "$cur"))
        return
        ;;
    -H | --host)
        COMPREPLY=($(compgen -W "unix:// tcp:// fd://" -- "$cur"))
        return
        ;;
    esac
    COMPREPLY=($(compgen -W "$(minked --help 2> /dev/null | grep -oE -- '--[a-z0-9-]+' | sort -u)" -- "$cur"))
}
complete -F _minked minked
