# From the table of vendor/man/options to a completion for bash.
BEGIN { FS = "\t" }
$1 == "command" {
    name = $2
    names = names " " name
    usage = $3
    sub(/^\[?[a-z-]+\]? */, "", usage)
    if (match(usage, /^[a-z|-]+\|[a-z|-]+/)) {
        choices = substr(usage, 1, RLENGTH)
        gsub(/\|/, " ", choices)
        first[name] = choices
    }
}
$1 == "option" {
    options[name] = options[name] " --" $2 ($3 == "-" ? "" : " -" $3)
    if ($4 == "-")
        next
    word = name ":--" $2 ($3 == "-" ? "" : " | " name ":-" $3)
    values = $4
    gsub(/\|/, " ", values)
    if ($4 == "FILE")
        files = files (files ? " | " : "") word
    else if (values != $4)
        chosen = chosen "    " word ")\n        _etl_engine_words '" values "'\n        return ;;\n"
    else
        free = free (free ? " | " : "") word
}
END {
    print "# bash completion for etl-engine: made of its own --help by `make`."
    print "_etl_engine_words() { mapfile -t COMPREPLY < <(compgen -W \"$1\" -- \"$cur\"); }\n"
    print "_etl_engine_files() {\n    compopt -o filenames"
    print "    mapfile -t COMPREPLY < <(compgen -d -- \"$cur\"; compgen -f ${1:+-X \"$1\"} -- \"$cur\")\n}\n"
    print "_etl_engine() {"
    print "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command=run options='' first=''"
    print "    # --format=bulk is three words"
    print "    [[ $cur == '=' ]] && cur="
    print "    [[ $prev == '=' ]] && prev=${COMP_WORDS[COMP_CWORD - 2]}"
    print "    COMPREPLY=()"
    print "    ((COMP_CWORD == 1)) || case ${COMP_WORDS[1]} in"
    list = substr(names, 2)
    gsub(/ /, " | ", list)
    print "    " list ") command=${COMP_WORDS[1]} ;;\n    esac"
    print "    case $command:$prev in"
    printf "%s", chosen
    if (files)
        print "    " files ")\n        _etl_engine_files\n        return ;;"
    if (free)
        print "    " free ")\n        return ;;"
    print "    esac\n    case $command in"
    n = split(substr(names, 2), all, " ")
    for (i = 1; i <= n; i++)
        print "    " all[i] ") options='" substr(options[all[i]], 2) "'" \
            (first[all[i]] ? " first='" first[all[i]] "'" : "") " ;;"
    print "    esac"
    print "    if [[ $cur == -* ]]; then"
    print "        ((COMP_CWORD > 1)) || options+=' --version'"
    print "        _etl_engine_words \"$options\""
    print "    elif ((COMP_CWORD == 2)) && [[ $first ]]; then"
    print "        _etl_engine_words \"$first\""
    print "    else"
    print "        _etl_engine_files '!*.lua'"
    print "        ((COMP_CWORD > 1)) || mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -W '" substr(names, 2) "' -- \"$cur\")"
    print "    fi\n}"
    print "complete -F _etl_engine etl-engine"
}
