# From the table of vendor/man/options to a completion for fish.
function quoted(text) {
    gsub(/[\\']/, "\\\\&", text)
    return "'" text "'"
}
BEGIN { FS = "\t" }
$1 == "command" {
    name = $2
    names = names " " name
    summary[name] = $4
    usage = $3
    sub(/^\[?[a-z-]+\]? */, "", usage)
    if (match(usage, /^[a-z|-]+\|[a-z|-]+/)) {
        choices = substr(usage, 1, RLENGTH)
        gsub(/\|/, " ", choices)
        line[++n] = "-n '__fish_seen_subcommand_from " name "; and not __fish_seen_subcommand_from " choices \
            "' -x -a '" choices "'"
    }
}
$1 == "option" {
    values = $4
    gsub(/\|/, " ", values)
    value = $4 == "-" ? "" : $4 == "FILE" ? " -r -F" : values != $4 ? " -x -a '" values "'" : " -x"
    line[++n] = "-n '@" name "@' -l " $2 ($3 == "-" ? "" : " -s " $3) value " -d " quoted($5)
}
END {
    names = substr(names, 2)
    others = names
    sub(/^run /, "", others)
    print "# fish completion for etl-engine: made of its own --help by `make`."
    print "complete -c etl-engine -k -a '(__fish_complete_suffix .lua)'"
    m = split(names, all, " ")
    for (i = 1; i <= m; i++)
        print "complete -c etl-engine -n 'not __fish_seen_subcommand_from " names "' -a " all[i] " -d " quoted(summary[all[i]])
    print "complete -c etl-engine -n 'not __fish_seen_subcommand_from " names "' -l version -d 'show the version'"
    for (i = 1; i <= n; i++) {
        sub(/@run@/, "not __fish_seen_subcommand_from " others, line[i])
        if (match(line[i], /@[a-z-]+@/))
            line[i] = substr(line[i], 1, RSTART - 1) "__fish_seen_subcommand_from " \
                substr(line[i], RSTART + 1, RLENGTH - 2) substr(line[i], RSTART + RLENGTH)
        print "complete -c etl-engine " line[i]
    }
}
