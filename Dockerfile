# dgex in a container; docs/containers.md tells how to run it.
#
#   docker build -t dgex .
#   docker build -t dgex:cuda --build-arg JAX='jax[cuda13]' .      # NVIDIA; the CUDA libraries come with the package

FROM python:3.12-slim AS wheel
WORKDIR /src
COPY pyproject.toml requirements.txt README.md LICENSE ./
COPY dgex dgex
COPY data_prep data_prep
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheel .

FROM python:3.12-slim
ARG JAX=jax
# The versions of JAX are bounded by dgex.
# hadolint ignore=DL3013
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel \
    pip install --no-cache-dir "$JAX" "$(echo /wheel/dgex-*.whl)[anndata,hub,parquet,plots]"
# Any user may run it: what is downloaded and compiled is kept in the home folder, which can be a volume.
RUN mkdir --mode=1777 /home/any
ENV HOME=/home/any
WORKDIR /data
ENTRYPOINT ["dgex"]
