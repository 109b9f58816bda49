# syntax=docker/dockerfile:1

# acreg in a container, for x86_64.
#
#   docker build -t acreg .                       # CPU
#   docker build -t acreg:gpu --target gpu .      # with the CUDA libraries; the host needs only the driver
#
#   docker run --rm acreg doctor
#   docker run --rm --gpus all acreg:gpu doctor   # the host needs the NVIDIA Container Toolkit
#
# A training on a GPU, with data and results outside of the container:
#
#   docker run --rm --gpus all --user "$(id -u):$(id -g)" --shm-size 2g \
#       -v /path/to/prepared:/data:ro -v "$PWD/runs:/workspace/runs" \
#       acreg:gpu train acregnet-jsrt --resume
#
# ACREG_DATA is /data in the image: the folder that holds the prepared datasets (see `acreg data prepare --help`).
# Slurm, Kubernetes, and what `docker stop` does to a training: docs/how-to/jobs.md.
#
# All packages are fixed by docker/*.lock, with hashes; `make locks` renews them. The base image has a tag only:
# `--build-arg BASE=python:3.13-slim-trixie@sha256:...` fixes it as well.
# docker/build_in_chroot.py runs these steps where there is no Docker engine.

ARG BASE=python:3.13-slim-trixie

# An environment without pip of its own, and what builds packages that come as sources.
FROM ${BASE} AS tools
ENV PIP_CACHE_DIR=/var/cache/pip \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
RUN python -m venv --without-pip /opt/acreg
COPY docker/build.lock docker/
RUN --mount=type=cache,target=/var/cache/pip \
    pip --python /opt/acreg install --require-hashes -r docker/build.lock

# The headers are for building operations in C++, which acreg has none of.
FROM tools AS cpu-packages
COPY docker/cpu.lock docker/
RUN --mount=type=cache,target=/var/cache/pip \
    pip --python /opt/acreg install --require-hashes --no-build-isolation -r docker/cpu.lock \
    && rm -r /opt/acreg/lib/python*/site-packages/tensorflow/include

FROM tools AS gpu-packages
COPY docker/gpu.lock docker/
RUN --mount=type=cache,target=/var/cache/pip \
    pip --python /opt/acreg install --require-hashes --no-build-isolation -r docker/gpu.lock \
    && rm -r /opt/acreg/lib/python*/site-packages/tensorflow/include

# acreg itself goes to a place of its own: of the final image's layers a change of the sources renews this small one.
FROM tools AS package
COPY setup.cfg setup.py README.md LICENSE ./
COPY acreg acreg
RUN pip --python /opt/acreg install --no-index --no-deps --no-build-isolation --prefix /package .

# Any user id may run it (--user): the home and the working folder are writable to all. The number of the user lets
# Kubernetes see that it is not root.
FROM ${BASE} AS runtime
RUN useradd --uid 10001 --create-home acreg \
    && mkdir -p /data /workspace/runs \
    && chmod 0777 /workspace /workspace/runs /home/acreg
ENV PATH=/opt/acreg/bin:${PATH} \
    HOME=/home/acreg \
    ACREG_DATA=/data \
    PYTHONUNBUFFERED=1
WORKDIR /workspace
USER 10001:10001
HEALTHCHECK --interval=10m --timeout=2m CMD ["acreg", "doctor"]
ENTRYPOINT ["acreg"]
CMD ["--help"]

FROM runtime AS gpu
COPY --from=gpu-packages /opt/acreg /opt/acreg
COPY --from=package /package /opt/acreg
HEALTHCHECK --interval=10m --timeout=2m CMD ["acreg", "doctor", "--gpu"]

FROM runtime AS cpu
COPY --from=cpu-packages /opt/acreg /opt/acreg
COPY --from=package /package /opt/acreg
