# acreg in a container.
#
#   docker build -t acreg .                                   # CPU
#   docker build -t acreg:gpu --build-arg EXTRAS='[gpu]' .    # with the CUDA libraries; the host needs only the driver
#
#   docker run --rm acreg doctor
#   docker run --rm --gpus all acreg:gpu doctor               # the host needs the NVIDIA Container Toolkit
#
# A training on a GPU, with data and results outside of the container:
#
#   docker run --rm --gpus all --user "$(id -u):$(id -g)" --shm-size 2g \
#       -v /path/to/prepared:/data:ro -v "$PWD/runs:/workspace/runs" \
#       acreg:gpu train acregnet-jsrt
#
# ACREG_DATA is /data in the image: the folder that holds the prepared datasets (see `acreg data prepare --help`).

FROM python:3.12-slim

ARG EXTRAS=""

ENV PIP_CACHE_DIR=/var/cache/pip \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

WORKDIR /opt/acreg

# The dependencies alone: this layer, by far the largest, is rebuilt only when they change. A package of one empty
# module stands in for the sources, which change often.
COPY setup.cfg setup.py LICENSE ./
RUN --mount=type=cache,target=/var/cache/pip \
    mkdir -p acreg/cli \
    && touch README.md acreg/cli/__init__.py acreg/cli/main.py \
    && echo '__version__ = "0"' > acreg/__init__.py \
    && pip install ".${EXTRAS}" \
    && pip uninstall --yes acreg \
    && rm -rf acreg build *.egg-info

COPY README.md ./
COPY layers layers
COPY data data
COPY experiments experiments
# Copied with its links to the three folders above.
COPY acreg acreg
RUN pip install --no-deps . && rm -rf build *.egg-info

# Any user id may run it (--user): the home and the working folder are writable to all.
RUN useradd --create-home acreg \
    && mkdir -p /data /workspace/runs \
    && chmod -R 0777 /workspace /home/acreg
ENV HOME=/home/acreg \
    ACREG_DATA=/data
USER acreg
WORKDIR /workspace

ENTRYPOINT ["acreg"]
CMD ["--help"]
