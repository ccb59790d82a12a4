# What `make install` copies, and what `make deb` packs: binary, manual pages, completions, units, the stub for editors.
# DESTDIR=FOLDER: into a root elsewhere. The unit goes where systemd looks if PREFIX is /usr/local or /usr.
VERSION := $(shell sed -n 's/^\#define ETL_VERSION "\(.*\)"/\1/p' engine/cmd/cli.h)
SHARE    = $(BUILD)/share
UNITDIR ?= lib/systemd/system
ZSHDIR  ?= share/zsh/site-functions
DOCDIR  ?= share/doc/etl-engine
prefix   = $(abspath $(PREFIX))
# vendor/man/NAME.SECTION.md becomes share/man/manSECTION/NAME.SECTION.
PAGES    = $(patsubst vendor/man/%.md,%,$(wildcard vendor/man/*.md))
page_dir = share/man/man$(patsubst .%,%,$(suffix $(1)))

# MODE:FROM:TO, where TO is below PREFIX.
INSTALLED = \
    755:$(BUILD)/etl-engine:bin/etl-engine \
    $(foreach page,$(PAGES),644:$(SHARE)/$(page):$(call page_dir,$(page))/$(page)) \
    644:$(SHARE)/etl-engine.bash:share/bash-completion/completions/etl-engine \
    644:$(SHARE)/etl-engine.zsh:$(ZSHDIR)/_etl-engine \
    644:$(SHARE)/etl-engine.fish:share/fish/vendor_completions.d/etl-engine.fish \
    644:scripts/etl.d.lua:share/etl-engine/library/etl.d.lua \
    644:vendor/systemd/etl-engine@.service.in:$(UNITDIR)/etl-engine@.service \
    644:vendor/systemd/etl-engine.sysusers:lib/sysusers.d/etl-engine.conf \
    $(foreach file,prometheus.yml etl-engine.rules.yml grafana.json,644:vendor/monitoring/$(file):share/etl-engine/monitoring/$(file)) \
    $(foreach file,README.md CHANGELOG.md LICENSE,644:$(file):$(DOCDIR)/$(file)) \
    $(foreach file,movies.lua genres.lua persons.lua movies.sql,644:scripts/$(file):$(DOCDIR)/examples/$(file))
# Removed by `make uninstall`, if nothing else is in them.
FOLDERS = share/etl-engine/library share/etl-engine/monitoring share/etl-engine $(DOCDIR)/examples $(DOCDIR)

$(SHARE)/options: $(BUILD)/etl-engine vendor/man/options
	@mkdir -p $(@D)
	$(call run,GEN) vendor/man/options $(BUILD)/etl-engine >$@.new && mv $@.new $@
$(SHARE)/etl-engine.bash $(SHARE)/etl-engine.zsh $(SHARE)/etl-engine.fish: $(SHARE)/etl-engine.%: vendor/completions/%.awk $(SHARE)/options
	$(call run,GEN) awk -f $< $(SHARE)/options >$@
# The date is the release's, so that the same tree gives the same page.
$(PAGES:%=$(SHARE)/%): $(SHARE)/%: vendor/man/%.md vendor/man/generated.awk vendor/man/markdown.awk $(SHARE)/options scripts/etl.d.lua CHANGELOG.md
	$(call run,GEN) awk -v "date=$$(LC_ALL=C date -d "$$(sed -n 's/^## .*(\(.*\))$$/\1/p' CHANGELOG.md | head -n 1)" '+%B %-d, %Y')" \
	    -f vendor/man/generated.awk -f vendor/man/markdown.awk $(SHARE)/options scripts/etl.d.lua $< >$@.new && mv $@.new $@

# The names of the folders in a unit or a page are those of this PREFIX.
install: all $(foreach file,$(INSTALLED),$(word 2,$(subst :, ,$(file))))  ## install everything below PREFIX (/usr/local); DESTDIR=FOLDER for a package
	@for file in $(INSTALLED); do \
	    mode=$${file%%:*} file=$${file#*:}; \
	    from=$${file%%:*} to=$(DESTDIR)$(prefix)/$${file#*:}; \
	    echo "  $$to"; \
	    if [ "$$mode" = 755 ]; then install -D -m 755 "$$from" "$$to"; \
	    else sed 's,@PREFIX@,$(prefix),g' "$$from" | install -D -m "$$mode" /dev/stdin "$$to"; fi || exit 1; \
	done

uninstall:  ## remove what `make install` has copied (the same PREFIX and DESTDIR)
	@for file in $(INSTALLED); do rm -f "$(DESTDIR)$(prefix)/$${file##*:}"; done
	@for folder in $(FOLDERS); do rmdir "$(DESTDIR)$(prefix)/$$folder" 2>/dev/null || true; done

# As they will be installed, so that one can be opened by its name, and its references followed.
man: $(PAGES:%=$(SHARE)/%)  ## list the manual pages; PAGE=run opens etl-engine-run
	@$(foreach page,$(PAGES),sed 's,@PREFIX@,$(prefix),g' $(SHARE)/$(page) | install -D -m 644 /dev/stdin $(BUILD)/$(call page_dir,$(page))/$(page) &&) true
	@$(if $(PAGE),man -M $(BUILD)/share/man $(patsubst etl-engine-etl-engine%,etl-engine%,etl-engine-$(PAGE)),\
	    sed -n 's/^# //p' vendor/man/etl-engine.1.md vendor/man/etl-engine-*.md && echo 'make man PAGE=etl-engine opens the first, PAGE=run etl-engine-run(7)')

# The checkout as it is, without what was built in it.
copy_tree = rm -rf $(1) && mkdir -p $(1) && \
    tar -c --exclude=./build --exclude=./.git --exclude=./postgres_to_es --exclude=__pycache__ . | tar -x -C $(1)

TREE = $(BUILD)/deb/etl-engine-$(VERSION)
deb:  ## build a Debian package, build/deb/*.deb, and let lintian look at it
	@vendor/install build package
	@rm -rf $(BUILD)/deb && $(call copy_tree,$(TREE))
	@cp -r vendor/debian $(TREE)/debian
	@sed 's,@PREFIX@,/usr,g' vendor/systemd/etl-engine@.service.in >$(TREE)/debian/etl-engine@.service
	@cp vendor/systemd/etl-engine.sysusers $(TREE)/debian/
	cd $(TREE) && env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL dpkg-buildpackage -us -uc -j$(shell nproc) >../build.log 2>&1 || { tail -n 30 ../build.log && exit 1; }
	lintian --fail-on error,warning,info,pedantic $(BUILD)/deb/*.changes
	@ls $(BUILD)/deb/*.deb

CONTAINER ?= $(firstword $(foreach name,docker podman buildah,$(if $(shell command -v $(name)),$(name))) docker)
BASE      ?= docker.io/library/debian:bookworm-slim
image:  ## build a container image, etl-engine:VERSION (CONTAINER=docker, podman or buildah; BASE=debian:trixie-slim)
	@$(call copy_tree,$(BUILD)/image)
	$(CONTAINER) build $(IMAGE_FLAGS) --build-arg BASE=$(BASE) -t etl-engine:$(VERSION) -f $(BUILD)/image/vendor/container/Dockerfile $(BUILD)/image

.PHONY: install uninstall man deb image
