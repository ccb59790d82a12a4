# Makes a manual page, in mdoc, of a page in Markdown:
#
#   awk -v date=DATE -f generated.awk -f markdown.awk OPTIONS etl.d.lua PAGE.md
#
# The page begins with `# name(section): what it is about`. It may have headings of two more levels, paragraphs, lists with
# `-`, code that is fenced or indented, tables (the first column becomes the tag of a list;
# above the others stands what they are, but for "meaning"), `code`, **bold** and links. The name
# of another page, such as psql(1), is a cross-reference. `[Generated: the fields of etl.Sink](...)`, alone in a line, stands for
# what generated.awk makes of the stub and of the commands' --help; the items `- **ca**: ...` that follow it add to what the stub
# says of the field ca. In a page of section 1, a heading `### run` is followed by that command's usage and, at its end, by its
# options. In a block of shell commands, each gets a prompt.

# Text that is no code: nothing in it is for roff, and pages are cross-references (\003 name \005 section \004).
function plain(text,    out) {
    gsub(/\\/, "\\e", text)
    gsub(/--/, "\\-\\-", text)
    while (match(text, /[a-z][-a-z0-9_.]*\([1-8]\)/)) {
        out = out substr(text, 1, RSTART - 1) "\003" substr(text, RSTART, RLENGTH - 3) "\005" substr(text, RSTART + RLENGTH - 2, 1) "\004"
        text = substr(text, RSTART + RLENGTH)
    }
    return out text
}
function code(text) { # as it is to be typed
    gsub(/\\/, "\\e", text)
    gsub(/-/, "\\-", text)
    gsub(/'/, "\\(aq", text)
    gsub(/`/, "\\(ga", text)
    gsub(/\^/, "\\(ha", text)
    gsub(/~/, "\\(ti", text)
    return guarded(text)
}
function inline(text,    out, n, parts, i) {
    while (match(text, /\[[^]]*\]\([^)]*\)/)) { # a link: its text
        out = out substr(text, 1, RSTART) # with a [, which goes below
        n = index(substr(text, RSTART), "](")
        out = substr(out, 1, length(out) - 1) substr(text, RSTART + 1, n - 2)
        text = substr(text, RSTART + RLENGTH)
    }
    text = out text
    out = ""
    n = split(text, parts, "`")
    for (i = 1; i <= n; i++)
        out = out (i % 2 ? bold(plain(parts[i])) : "\\fB" spaces(code(parts[i])) "\\fP")
    return out
}
function bold(text,    n, parts, i, out) { # ** may stand around code, too
    n = split(text, parts, /\*\*/)
    out = parts[1]
    for (i = 2; i <= n; i++) {
        is_bold = !is_bold
        out = out (is_bold ? "\\fB" : "\\fP") parts[i]
    }
    return out
}
function spaces(text) { # of code: no place to end a sentence
    gsub(/ /, "\002", text)
    return text
}
function guarded(line) { # a line that begins like a request is none
    return line ~ /^[.']/ ? "\\&" line : line
}
# A sentence a line, as mdoc wants it, and no line too long.
function prose(text,    out) {
    text = inline(text)
    while (match(text, /([^A-Z .]|[A-Z][A-Z]|\\fP)[.?!]("|\)|\\fP)* [A-Z"(\\0-9]/)) {
        print_wrapped(substr(text, 1, RSTART + RLENGTH - 3))
        text = substr(text, RSTART + RLENGTH - 1)
    }
    print_wrapped(text)
}
function print_wrapped(line,    n) {
    while (length(line) > 76) {
        for (n = 76; n > 1 && substr(line, n, 1) !~ /[ \002]/; n--)
            ;
        if (n == 1 && !(n = match(line, /[ \002]/)))
            break
        print_line(substr(line, 1, n - 1))
        line = substr(line, n + 1)
    }
    print_line(line)
}
function print_line(line,    n, before, name, rest, ends) {
    gsub(/\002/, " ", line)
    while ((n = index(line, "\003")) > 0) {
        before = substr(line, 1, n - 1)
        rest = substr(line, n + 1)
        n = index(rest, "\004")
        name = substr(rest, 1, n - 1)
        rest = substr(rest, n + 1)
        sub(/\005/, " ", name)
        ends = ""
        while (rest ~ /^[).,;:?!]/) {
            ends = ends " " substr(rest, 1, 1)
            rest = substr(rest, 2)
        }
        if (rest ~ /^[^ ]/ && match(rest, /^[^ ]+/)) {
            ends = ends " Ns " substr(rest, 1, RLENGTH)
            rest = substr(rest, RLENGTH + 1)
        }
        name = "Xr " name ends
        if (sub(/\($/, "", before))
            name = "Pf ( " name
        print_words(before)
        print "." name
        line = rest
    }
    print_words(line)
}
function print_words(line) {
    sub(/^ +/, "", line)
    sub(/ +$/, "", line)
    if (line != "")
        print guarded(line)
}
function word(text) { # arguments of a macro: none is a macro or a delimiter
    gsub(/"/, "\\(dq", text)
    if (text ~ /^[A-Za-z.,:;()?!|[\]]+$/ && length(text) <= 3)
        return "\\&" text
    return text
}
function words(text,    n, parts, i, out) {
    n = split(text, parts, / /)
    for (i = 1; i <= n; i++)
        out = out (i > 1 ? " " : "") word(parts[i])
    gsub(/\002/, "\\ ", out)
    if (gsub(/\003/, "Xr ", out)) { # the name of a page, alone
        gsub(/\004/, "", out)
        gsub(/\005/, " ", out)
    }
    return out
}

# ---- the page ----

function flush_text(    text) { # what was collected: a paragraph, or the text of a list's item
    if (collected == "")
        return
    text = collected
    collected = ""
    if (text ~ /^\[Generated: /) {
        generate(text)
        return
    }
    if (of_class != "") {
        add_to_field(text)
        return
    }
    if (after_text && !in_item)
        print ".Pp"
    prose(text)
    after_text = 1
    in_item = 0
}
function add_to_field(text,    n, name) {
    if (text !~ /^\*\*[a-z_]+\*\*: / || !((of_class, name = substr(text, 3, index(text, "**: ") - 3)) in has_field))
        fail("which field of " of_class " is this about? " text)
    remarks[of_class, name] = substr(text, index(text, "**: ") + 4)
}
function end_fields() {
    if (of_class != "")
        print_fields(of_class)
    of_class = ""
}
function end_list() {
    flush_text()
    end_fields()
    if (listing) {
        print ".El"
        after_text = 1
    }
    listing = ""
}
function begin_list(kind) {
    flush_text()
    if (listing && listing != kind)
        end_list()
    if (!listing)
        print ".Bl " kind
    listing = kind
}
function end_code() {
    if (showing)
        print ".Ed"
    showing = ""
    after_text = 1
}
function begin_code(kind) {
    end_list()
    print ".Bd -literal -offset indent"
    showing = kind
}
function end_command() { # the options of the one that the last heading named
    end_list()
    if (of_command != "")
        print_options(of_command, 0)
    of_command = ""
}
function heading(level, text,    n) {
    end_command()
    header = ""
    after_text = 0
    print level == 2 ? ".Sh " words(toupper(inline(text))) : ".Ss " words(inline(text))
    if (section == 1 && level == 3 && text in usage) {
        of_command = text
        print_usage(text)
        after_text = 1
    }
}
function title(text,    n, name) {
    n = index(text, "(")
    name = substr(text, 1, n - 1)
    section = substr(text, n + 1, 1)
    print ".Dd " date
    print ".Dt " toupper(name) " " section
    print ".Os"
    print ".Sh NAME"
    print ".Nm " name
    print ".Nd " substr(text, n + 5)
    describing = 1
}
function generate(text,    n, parts) {
    sub(/\].*/, "", text)
    n = split(text, parts, " ")
    if (text ~ / the fields of /)
        of_class = parts[n] # printed with what follows
    else if (text ~ / the text of /) {
        if (after_text)
            print ".Pp"
        print_alias(parts[n])
    } else if (text ~ / the functions$/)
        print_functions()
    else if (text ~ / the options of every command$/)
        print_options(commands[1], 1)
    else
        fail("what is to be generated here? " text)
    after_text = 1
}
function fail(text) {
    print FILENAME ":" FNR ": " text >"/dev/stderr"
    failed = 1
    exit 1
}
function row(line,    n, cells, i, head) {
    gsub(/\\\|/, "\006", line)
    sub(/^\| */, "", line)
    sub(/ *\|$/, "", line)
    if (line ~ /^[-| ]+$/)
        return
    n = split(line, cells, / *\| */)
    for (i = 1; i <= n; i++)
        gsub(/\006/, "|", cells[i])
    if (header == "") {
        end_list()
        header = line
        n_columns = n
        for (i = 1; i <= n; i++)
            column[i] = cells[i]
        return
    }
    begin_list("-tag -width Ds")
    print ".It " words(inline(cells[1]))
    for (i = 2; i <= n; i++) {
        if (cells[i] == "")
            continue
        if (i > 2)
            print ".br"
        prose((n_columns > 2 && column[i] != "meaning" ? column[i] ": " : "") cells[i])
    }
}

part == 3 && showing ~ /^```/ {
    if (/^```$/)
        end_code()
    else
        print code(showing != "```sh" ? $0 : (/^[^ ]/ ? "$ " : "  ") $0)
    next
}
part == 3 && /^```/ { begin_code($0); next }
part == 3 && showing == "indent" {
    if (/^    /) {
        for (; blank; blank--)
            print ""
        print code(substr($0, 5))
        next
    }
    if (/^$/) {
        blank++
        next
    }
    end_code()
}
part == 3 { blank = 0 }
part == 3 && /^    / && collected == "" && !in_item { begin_code("indent"); print code(substr($0, 5)); next }
part == 3 && /^<!-- .* -->$/ { next } # for whoever writes the page
part == 3 && /^# / { title(substr($0, 3)); next }
part == 3 && describing && /^[^#]/ { print ".Sh DESCRIPTION"; describing = 0 }
part == 3 && describing && /^#/ { describing = 0 }
part == 3 && /^## / { heading(2, substr($0, 4)); next }
part == 3 && /^### / { heading(3, substr($0, 5)); next }
part == 3 && /^\|/ { flush_text(); row($0); next }
part == 3 && header != "" { end_list(); header = "" }
part == 3 && /^- / && of_class != "" { flush_text(); collected = substr($0, 3); next }
part == 3 && /^- / {
    begin_list("-bullet")
    print ".It"
    in_item = 1
    collected = substr($0, 3)
    next
}
part == 3 && /^$/ { flush_text(); next }
part == 3 && (listing || of_class != "") && collected == "" { end_list() }
part == 3 {
    sub(/^ +/, "")
    collected = collected (collected == "" ? "" : " ") $0
}
END {
    if (failed)
        exit 1
    if (showing)
        end_code()
    end_command()
}
