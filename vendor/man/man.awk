# Fills in a manual page: awk -v date=... -f man.awk OPTIONS STUB PAGE.in, where OPTIONS is the table of
# vendor/man/options and STUB is scripts/etl.d.lua. In the page these lines stand for what is made of them:
#
#   @DATE@ (in a line)   @COMMANDS@   @OPTIONS COMMAND@   @OPTIONS@ (those of every command)
#   @FIELDS CLASS@   @ALIAS NAME@   @FUNCTIONS@
FNR == 1 { part++ }

function safe(text) { # nothing in it is for roff
    gsub(/\\/, "\\e", text)
    gsub(/--/, "\\-\\-", text)
    return text
}
function prose(text,    out, n, parts, i) { # `code` in bold
    n = split(safe(text), parts, "`")
    for (i = 1; i <= n; i++)
        out = out (i % 2 ? parts[i] : "\\fB" parts[i] "\\fP")
    # a sentence a line, as mdoc wants it, and no line too long
    while (match(out, /[A-Za-z0-9)"]\. [A-Z"]/)) {
        print_wrapped(substr(out, 1, RSTART + 1))
        out = substr(out, RSTART + 3)
    }
    print_wrapped(out)
}
function print_wrapped(line,    n) {
    while (length(line) > 78) {
        for (n = 78; n > 1 && substr(line, n, 1) != " "; n--)
            ;
        if (n == 1)
            break
        print guarded(substr(line, 1, n - 1))
        line = substr(line, n + 1)
    }
    print guarded(line)
}
function guarded(line) { # a line that begins like a macro is none
    sub(/^ +/, "", line)
    sub(/ +$/, "", line)
    return line ~ /^[.']/ ? "\\&" line : line
}
function sentence(text) {
    if (text !~ /^(libpq|gzip|expo|fibo|full|constant|on_)/)
        text = toupper(substr(text, 1, 1)) substr(text, 2)
    return text (text ~ /(\.|\.\))$/ ? "" : ".")
}
function word(text) { # an argument of a macro: no macro, no delimiter
    gsub(/"/, "\\(dq", text)
    gsub(/-/, "\\-", text)
    return text ~ /^[A-Za-z.,:;()?!|[\]]{1,3}$/ ? "\\&" text : text
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
function print_commands(    i, c) {
    for (i = 1; i <= n_commands; i++) {
        c = commands[i]
        print ".Ss " word(c)
        print ".Dl etl\\-engine " safe(usage[c])
        print ".Pp"
        prose(summary[c])
        if (c in more)
            printf "%s", more[c]
        print_options(c, 0)
    }
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
    fields[class, ++n_fields[class]] = substr(line, 1, n - 1)
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
    gsub(/etl\.Related\[\]/, "list of tables", t)
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
        prose(sentence(about[class, i]))
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

# ---- the page ----

part == 3 && /^@COMMANDS@$/ { print_commands(); next }
part == 3 && /^@MORE / { gsub(/@/, "", $2); reading = $2; next }
part == 3 && /^@END@$/ { reading = ""; next }
part == 3 && reading { more[reading] = more[reading] $0 "\n"; next }
part == 3 && /^@OPTIONS@$/ { print_options(commands[1], 1); next }
part == 3 && /^@FIELDS / { gsub(/@/, "", $2); print_fields($2); next }
part == 3 && /^@ALIAS / { gsub(/@/, "", $2); prose(alias[$2]); next }
part == 3 && /^@FUNCTIONS@$/ { print_functions(); next }
part == 3 && /^@[A-Z]+( |@$)/ { print "man.awk: unknown: " $0 >"/dev/stderr"; failed = 1; exit 1 }
part == 3 {
    gsub(/@DATE@/, date)
    print
}
