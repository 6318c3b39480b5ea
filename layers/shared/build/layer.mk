# The rules behind arm64/Makefile and x86_64/Makefile. `sam build` runs them in a copy of
# layers/shared. MACHINE is the processor's name in the tags of wheels.

PYTHON := python3.13
TARGET := $(ARTIFACTS_DIR)/python

# botocore describes more than 400 services in 24 MB. The layer keeps the services that the functions
# call, and those that may give botocore its credentials. A test compares this list with the code.
SERVICES := dynamodb glue s3 secretsmanager sns ssm stepfunctions sso sso-oidc sts

.PHONY: build-SharedLayer
build-SharedLayer:
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
		--no-compile --only-binary=:all: --platform manylinux2014_$(MACHINE) \
		--platform manylinux_2_28_$(MACHINE) --python-version 3.13 --target $(TARGET) \
		--requirement requirements.txt
	rm -rf $(TARGET)/bin
	find $(TARGET)/botocore/data -mindepth 1 -maxdepth 1 -type d \
		$(SERVICES:%=! -name %) -exec rm -r {} +
	find vonage_reports -name __pycache__ -prune -exec rm -r {} +
	cp -R vonage_reports $(TARGET)
# Lambda mounts a layer read-only. Without bytecode, each cold start would compile every module. A
# deployment changes the dates of files, so the bytecode must be valid without them.
	$(PYTHON) -m compileall -q --invalidation-mode unchecked-hash -s $(ARTIFACTS_DIR) -p /opt $(TARGET)
