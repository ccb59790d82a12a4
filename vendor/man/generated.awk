# What manual pages say of commands, options, fields and functions, made of the table of vendor/man/options (the first file)
# and of scripts/etl.d.lua (the second). markdown.awk, which reads the page, calls print_usage, print_options, print_fields,
# print_functions and print_alias.
FNR == 1 { part++ }

function sentence(text) {
    if (text !~ /^(true|false|libpq|gzip|wal |expo|fibo|full|constant|on_)/)
        text = toupper(substr(text, 1, 1)) substr(text, 2)
    return text (text ~ /(\.|\.\))$/ ? "" : ".")
}
# ---- the options ----

part == 1 {
    split($0, f, "\t")
    if (f[1] == "command") {
        name = f[2]
        commands[++n_commands] = name
        usage[name] = f[3]
        summary[name] = f[4]
    } else {
        key = f[2] SUBSEP f[5]
        n_options[name]++
        option[name, n_options[name]] = key
        letter[key] = f[3]
        argument[key] = f[4]
        users[key]++
    }
}
function print_option(key,    f) {
    split(key, f, SUBSEP)
    printf ".It "
    if (letter[key] != "-")
        printf "Fl %s , ", letter[key]
    printf "Fl Fl %s", f[1]
    if (argument[key] != "-")
        printf " Ar %s", word(argument[key])
    print ""
    prose(sentence(f[2]))
}
function print_options(name, common,    i, key, any) {
    for (i = 1; i <= n_options[name]; i++) {
        key = option[name, i]
        if ((users[key] == n_commands) != common)
            continue
        if (!any++)
            print ".Bl -tag -width Ds"
        print_option(key)
    }
    if (any)
        print ".El"
}
function print_usage(name) {
    print ".Bd -literal -offset indent"
    print code("etl-engine " usage[name])
    print ".Ed"
    prose(summary[name])
}

# ---- the fields and functions ----

part == 2 && /^---@class / {
    class = $2
    sub(/:$/, "", class)
    comment = ""
    next
}
part == 2 && /^---@field / {
    line = $0
    sub(/^---@field /, "", line)
    n = index(line, " ")
    name = substr(line, 1, n - 1)
    fields[class, ++n_fields[class]] = name
    sub(/\?$/, "", name)
    has_field[class, name] = 1
    rest = substr(line, n + 1)
    n = type_end(rest)
    type[class, n_fields[class]] = substr(rest, 1, n)
    text = substr(rest, n + 1)
    sub(/^ +/, "", text)
    about[class, n_fields[class]] = comment (comment && text ? " " : "") text
    comment = ""
    next
}
part == 2 && /^---@alias / { alias[$2] = comment; comment = ""; next }
part == 2 && /^---@param / && $4 != "" {
    line = $0
    if (match(line, /[a-z]  +[a-z]/)) {
        given = given (given ? "; " : "") "`" ($2 == "..." ? "..." : $2) "`: " substr(line, RSTART + 1)
        gsub(/\?`/, "`", given)
        gsub(/:  +/, ": ", given)
    }
    next
}
part == 2 && /^---@/ { next }
part == 2 && /^---/ { comment = comment (comment ? " " : "") substr($0, 4); next }
part == 2 && /^function / {
    call = $0
    sub(/^function /, "", call)
    sub(/ end$/, "", call)
    if (call !~ /^etl\./ && call !~ /^Decimal/)
        call = "etl." call
    if (call ~ /^etl\.log/)
        comment = "Writes a log line; the format is that of string.format."
    functions[++n_functions] = call
    says[n_functions] = comment (given ? " (" given ")" : "")
    comment = given = ""
    next
}
part == 2 { comment = given = "" }

# Where the type ends: at the first space outside of brackets, but for that of "fun(...): any".
function type_end(text,    i, c, depth) {
    for (i = 1; i <= length(text); i++) {
        c = substr(text, i, 1)
        depth += (c ~ /[(<]/) - (c ~ /[)>]/)
        if (c == " " && depth == 0 && substr(text, i - 1, 1) != ":")
            return i - 1
    }
    return length(text)
}
function plainly(t) {
    gsub(/etl\.(Related|Example)\[\]/, "list of tables", t)
    gsub(/string\[\]/, "list of strings", t)
    gsub(/etl\.(Source|Sink)/, "table", t)
    gsub(/etl\.Template/, "table", t)
    gsub(/etl\.(Document|Field)Function/, "function", t)
    gsub(/fun\([^)]*\)(: [a-z]+)?/, "function", t)
    gsub(/\|/, " or ", t)
    return t
}
function print_fields(class,    i, name, must) {
    print ".Bl -tag -width Ds"
    for (i = 1; i <= n_fields[class]; i++) {
        name = fields[class, i]
        must = sub(/\?$/, "", name) || class !~ /Pipeline|Source|Related|Sink/ ? "" : ", required"
        print ".It Va " word(name) " No (" word(plainly(type[class, i])) must ")"
        prose(sentence(about[class, i]) ((class, name) in remarks ? " " remarks[class, name] : ""))
    }
    print ".El"
}
function print_functions(    i) {
    print ".Bl -tag -width Ds"
    for (i = 1; i <= n_functions; i++) {
        print ".It Li " word(functions[i])
        prose(says[i])
    }
    print ".El"
}
function print_alias(name) { prose(alias[name]) }
