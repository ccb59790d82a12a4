# From the table of vendor/man/options to a completion for zsh.
function quoted(text) {
    gsub(/'/, "'\\''", text)
    return text
}
function described(text) {
    gsub(/[\[\]:\\]/, "\\\\&", text)
    return quoted(text)
}
BEGIN {
    FS = "\t"
    print "#compdef etl-engine\n# zsh completion for etl-engine: made of its own --help by `make`.\n"
}
$1 == "command" {
    name = $2
    names[++n] = name
    usage = $3
    sub(/^\[?[a-z-]+\]? */, "", usage)
    commands = commands "        '" name ":" quoted($4) "'\n"
    if (match(usage, /^[a-z|-]+\|[a-z|-]+/)) {
        choices = substr(usage, 1, RLENGTH)
        gsub(/\|/, " ", choices)
        options[name] = " \\\n            '1:action:(" choices ")'"
    }
}
$1 == "option" {
    spec = "[" described($5) "]"
    if ($4 != "-") {
        values = $4
        gsub(/\|/, " ", values)
        spec = spec ":" $2 ":" ($4 == "FILE" ? "_files" : values != $4 ? "(" values ")" : " ")
    }
    long = "--" $2 ($4 == "-" ? "" : "=")
    if ($3 == "-")
        word = "'" long spec "'"
    else
        word = "'(-" $3 " --" $2 ")'{-" $3 ($4 == "-" ? "" : "+") "," long "}'" spec "'"
    options[name] = options[name] " \\\n            " word
}
END {
    print "_etl_engine() {"
    print "    local command=run scripts='*:script:_files -g \"*.lua\"'\n    local -a commands=(\n" commands "    )"
    print "    if (( CURRENT == 2 )) && [[ $words[2] != -* ]]; then"
    print "        _alternative 'commands:command:{_describe command commands}' 'scripts:script:_files -g \"*.lua\"'"
    print "        return\n    fi"
    print "    if (( ${commands[(I)${(q)words[2]}:*]} )); then"
    print "        command=$words[2]\n        shift words\n        (( CURRENT-- ))\n    fi"
    print "    case $command in"
    for (i = 1; i <= n; i++)
        print "    " names[i] ")\n        _arguments -s" options[names[i]] " \\\n            $scripts ;;"
    print "    esac\n}\n\n_etl_engine \"$@\""
}
