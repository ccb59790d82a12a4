# etl-engine: `make help` lists the targets. All output lies in build/, that of each sanitizer in a folder of its own.
BUILD  ?= build
PREFIX ?= /usr/local
CFLAGS ?= -O2 -g
# A newer compiler's new warning must not stop a user's build; in CI it does.
WERROR ?= $(CI)
ETL_ENGINE ?= $(BUILD)/etl-engine

PACKAGES = libpq libcurl openssl zlib libmicrohttpd
FLAGS    = -std=c17 -D_GNU_SOURCE -pthread -Wall -Wextra -Wconversion $(if $(WERROR),-Werror) -Iengine \
           $(shell pkg-config --cflags $(PACKAGES) lua5.4)
# Lua and lua-cjson statically: the binary then needs nothing of Lua's where it runs.
LIBS     = -l:liblua5.4-cjson.a -l:liblua5.4.a $(shell pkg-config --libs $(PACKAGES)) -lm -ldl -pthread
WRAP     = malloc calloc realloc strdup strndup

OBJECTS  = $(patsubst engine/%.c,$(BUILD)/obj/%.o,$(wildcard engine/*/*.c)) $(BUILD)/obj/http/page_html.o
UNITS    = $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(wildcard tests/unit/*/test_*.c))
FUZZERS  = $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
SCRIPTS  = vendor/install vendor/man/options vendor/test-in scripts/demo tests/after_demo .ci/run
# One short line a command; all of it with V=1.
run      = $(if $(V),,@echo '  $(1)  $@' &&)

all: $(BUILD)/etl-engine  ## build build/etl-engine (the default)

$(BUILD)/etl-engine: $(OBJECTS)
	$(call run,LD) $(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/obj/%.o: engine/%.c | $(BUILD)/packages
	@mkdir -p $(@D)
	$(call run,CC) $(CC) $(CPPFLAGS) $(FLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

# The page that --listen shows, as bytes; without what is for its writers alone.
$(BUILD)/obj/http/page_html.c: engine/http/page.html Makefile
	@mkdir -p $(@D)
	$(call run,GEN) { echo '#include "http/page.h"' && echo 'const unsigned char page_html[] = {' && \
	    sed -E '/^<style>/,/^<.style>/ { s/ *([{};]) */\1/g; s/([,:]) +/\1/g; s/;}/}/g }; s/^ *//; s, *// .*,,; /^$$/d' $< | \
	    od -An -v -tx1 | sed 's/ \(..\)/0x\1,/g' && echo '};' && \
	    echo 'const size_t page_html_size = sizeof page_html;'; } >$@
$(BUILD)/obj/http/page_html.o: $(BUILD)/obj/http/page_html.c
	$(call run,CC) $(CC) $(CPPFLAGS) $(FLAGS) $(CFLAGS) -c -o $@ $<

# Fails with the list of what is missing and the remedy, rather than with a header that was not found. An older release
# has lua-cjson for other Luas alone.
$(BUILD)/packages: vendor/packages
	@mkdir -p $(BUILD) && vendor/install --check build
	@echo 'int main(void) { return 0; }' | $(CC) $(LDFLAGS) -x c - -o $@.new $(firstword $(LIBS)) || \
	    { echo 'no lua-cjson for Lua 5.4 here (hint: Debian 12 and Ubuntu 24.04 have it)' >&2 && exit 1; }
	@rm -f $@.new && touch $@

# All but main, of which a unit test takes the modules that it needs, and no others.
$(BUILD)/engine.a: $(filter-out $(BUILD)/obj/cmd/main.o,$(OBJECTS))
	@rm -f $@
	$(call run,AR) $(AR) rcs $@ $^

# Each unit test is one program: the test, its modules, and allocations that can be made to fail (torture.h).
$(BUILD)/unit/%.o: tests/unit/%.c | $(BUILD)/packages
	@mkdir -p $(@D)
	$(call run,CC) $(CC) $(CPPFLAGS) $(FLAGS) -Itests/unit $(CFLAGS) -MMD -MP -c -o $@ $<
$(UNITS): %: %.o $(BUILD)/unit/torture.o $(BUILD)/engine.a
	$(call run,LD) $(CC) $(CFLAGS) $(LDFLAGS) $(WRAP:%=-Wl,--wrap=%) -o $@ $^ -lcmocka $(LIBS)

$(BUILD)/fuzz/%: tests/fuzz/%.c tests/fuzz/fuzz.h $(BUILD)/engine.a
	@mkdir -p $(@D)
	$(call run,LD) $(CC) $(CPPFLAGS) $(FLAGS) $(CFLAGS) -fsanitize=fuzzer -o $@ $< $(BUILD)/engine.a $(LIBS)

# What `make bench` measures parts of the engine with.
$(BUILD)/bench/%: tests/bench/%.c $(BUILD)/engine.a
	@mkdir -p $(@D)
	$(call run,LD) $(CC) $(CPPFLAGS) $(FLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $< $(BUILD)/engine.a $(LIBS)

include vendor/package.mk

demo:  ## install what is missing, start the servers, load films, search them (POSTGRES=postgres18 SEARCH=elasticsearch9)
	@scripts/demo '$(POSTGRES)' '$(SEARCH)'

test:  ## install what is missing, then run all tests: unit tests under ASan and UBSan, the others on real servers
	@vendor/install
	@mkdir -p build && flock build/test.lock $(MAKE) all-tests
# In turn, where two start at once: they would build the same files.
all-tests:
	$(MAKE) all
	$(MAKE) fuzz FUZZ_SECONDS=30 FUZZ_SEED=1
	$(MAKE) BUILD=build/asan CFLAGS='$(ASAN)' unit
	$(MAKE) e2e

# The system's python3: the packages in vendor/packages are for that one. JOBS=2: two tests at a time, each on servers
# of its own.
e2e: all $(BUILD)/bench/wal_decode  ## the end-to-end tests alone (ARGS='-k kill -x', JOBS=2, ETL_ENGINE=build/asan/etl-engine)
	PYTHONPYCACHEPREFIX=build/pycache ETL_ENGINE='$(ETL_ENGINE)' /usr/bin/python3 -m pytest tests \
	    $(if $(JOBS),-n $(JOBS) --dist loadgroup) $(ARGS)

faults: all  ## the long form of the tests with faults: more than 200 kills, some 30 minutes (ETL_SEED=..., ARGS=...)
	@vendor/install patroni || echo 'no Patroni to be had: it is not tested'
	PYTHONPYCACHEPREFIX=build/pycache ETL_ENGINE='$(ETL_ENGINE)' ETL_FAULTS=long \
	    /usr/bin/python3 -m pytest tests/faults tests/proof tests/test_postgres_versions.py $(ARGS)

test-matrix:  ## one suite on pairs of servers, and README's table of them (PAIRS=postgres18+elasticsearch9 RECORD=no)
	@vendor/install build services test matrix
	$(MAKE) all
	PYTHONPYCACHEPREFIX=build/pycache ETL_ENGINE='$(ETL_ENGINE)' /usr/bin/python3 tests/matrix/matrix.py

test-in:  ## try another release: make the demo and run the tests in a root of its own (RELEASE=trixie; needs root)
	@vendor/test-in '$(RELEASE)'

bench:  ## measure beside psql, curl and Python, some 20 minutes (BENCH_ONLY=latency,sweep BENCH_WRITE=1 BENCH_PEER=COMMAND; tests/bench/bench.py tells all)
	@vendor/install build services demo test
	$(MAKE) all $(BUILD)/bench/wal_decode
	PYTHONPYCACHEPREFIX=build/pycache ETL_ENGINE='$(ETL_ENGINE)' /usr/bin/python3 tests/bench/bench.py

# The tests have servers of their own: the demo's, and what is in them, are the user's. One run at a time has them; as in
# tests/services.py and tests/conftest.py.
unit: $(UNITS)  ## build and run the unit tests
	@ETL_SERVICES=services-tests flock build/tests-gw0.lock vendor/services with sh -c '\
	    for test; do echo "$$test"; $$test || failed="$$failed $$test"; done; \
	    [ -z "$$failed" ] || { echo "failed:$$failed" && exit 1; }' unit $(UNITS)

ASAN = -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
TSAN = -O1 -g -fno-omit-frame-pointer -fsanitize=thread
asan:  ## build with ASan and UBSan: build/asan/etl-engine
	$(MAKE) BUILD=build/asan CFLAGS='$(ASAN)' all
tsan:  ## build with TSan: build/tsan/etl-engine
	$(MAKE) BUILD=build/tsan CFLAGS='$(TSAN)' all

FUZZ = -O1 -g -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined
FUZZ_SECONDS ?= 600
fuzz:  ## throw broken input at all that reads what others wrote (FUZZ_SECONDS=600 in all, FUZZ_SEED=... for the same again)
	@vendor/install test
	$(MAKE) BUILD=build/clang CC=clang CFLAGS='$(FUZZ)' run-fuzzers
run-fuzzers: $(FUZZERS)
	@for f in $(FUZZERS); do name=$${f##*/fuzz_}; mkdir -p build/fuzz/found/$$name build/fuzz/broken; \
	    echo "fuzzing $$name" && $$f -max_total_time=$$(($(FUZZ_SECONDS) / $(words $(FUZZERS)))) -timeout=60 $(if $(FUZZ_SEED),-seed=$(FUZZ_SEED)) \
	        -artifact_prefix=build/fuzz/broken/$$name- build/fuzz/found/$$name tests/fuzz/corpus/$$name \
	        >build/fuzz/$$name.log 2>&1 || { tail -n 30 build/fuzz/$$name.log && exit 1; }; done

BANNED = strcpy|strcat|strncpy|strncat|sprintf|vsprintf|strtok|atoi|atol|atof|gets|localtime|gmtime|ctime|asctime|alloca
C_FILES = $(wildcard engine/*/*.[ch] tests/unit/*.[ch] tests/unit/*/*.[ch] tests/fuzz/*.[ch] tests/bench/*.c)
lint: $(BUILD)/engine.a  ## check format, the arrows between wings (engine/ARROWS), banned functions, scripts
	@vendor/install lint
	tests/lint/arrows.py $(BUILD)/obj
	clang-format --dry-run -Werror $(C_FILES)
	@! LC_ALL=C.UTF-8 grep -nE '^.{101,}' $(C_FILES) || { echo 'lint: more than 100 columns'; exit 1; }
	@! grep -nEw '($(BANNED)) *\(' $(C_FILES) /dev/null || { echo 'lint: a banned function'; exit 1; }
	@for script in $(wildcard scripts/*.lua); do luac5.4 -p $$script || exit 1; done  # 5.4.4 aborts on several at once
	shellcheck $(SCRIPTS)
	/usr/bin/python3 -c 'import ast, sys; [ast.parse(open(f).read(), f) for f in sys.argv[1:]]' \
	    vendor/services $(wildcard vendor/servers/*.py tests/*.py tests/*/*.py)

format:  ## let clang-format have its way
	clang-format -i $(C_FILES)

clean:  ## stop the services and remove build/
	@for set in $(patsubst build/%/settings.json,%,$(wildcard build/*/settings.json)); do \
	    ETL_SERVICES=$$set vendor/services purge || exit 1; done
	rm -rf build

help:  ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

.PHONY: all demo test all-tests test-in test-matrix fuzz run-fuzzers e2e faults bench unit asan tsan lint format clean help
.SECONDARY:
-include $(wildcard $(BUILD)/obj/*/*.d $(BUILD)/unit/*.d $(BUILD)/unit/*/*.d)
