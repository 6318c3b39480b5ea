# The rules behind arm64/Makefile and x86_64/Makefile. `sam build` runs them in a copy of
# layers/shared, and of functions/submit_reports. MACHINE is the processor's name in the tags of
# wheels. After a change here, use `sam build --no-cached`: SAM does not see that the function's
# rules changed.

PYTHON := python3.13

# Installs the locked packages into a folder.
install = $(PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
	--no-compile --only-binary=:all: --platform manylinux2014_$(MACHINE) \
	--platform manylinux_2_28_$(MACHINE) --python-version 3.13 --target $(1) \
	--requirement requirements.txt

# Lambda mounts code read-only. Without bytecode, each cold start would compile every module. A
# deployment changes the dates of files, so the bytecode must be valid without them. The argument is
# the place where Lambda mounts the files.
compile = $(PYTHON) -m compileall -q --invalidation-mode unchecked-hash -s $(ARTIFACTS_DIR) -p $(1) \
	$(ARTIFACTS_DIR)

# botocore describes more than 400 services in 24 MB. The layer keeps the services that the functions
# call, and those that may give botocore its credentials. A test compares this list with the code.
SERVICES := dynamodb glue s3 secretsmanager sns ssm stepfunctions sso sso-oidc sts

LAYER := $(ARTIFACTS_DIR)/python

.PHONY: build-SharedLayer build-SubmitReportsFunction
build-SharedLayer:
	$(call install,$(LAYER))
	rm -rf $(LAYER)/bin
	find $(LAYER)/botocore/data -mindepth 1 -maxdepth 1 -type d \
		$(SERVICES:%=! -name %) -exec rm -r {} +
	find vonage_reports -name __pycache__ -prune -exec rm -r {} +
	cp -R vonage_reports $(LAYER)
	$(call compile,/opt)

build-SubmitReportsFunction:
	$(call install,$(ARTIFACTS_DIR))
	cp app.py $(ARTIFACTS_DIR)
	$(call compile,/var/task)
