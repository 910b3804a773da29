# The book's environment, of the files in requirements.lock, without root:
#   docker build -t complexity-control .
#   docker run --rm -v "$PWD/book:/paper/book" complexity-control make check
# With --build-arg PIP_EXTRA_INDEX_URL=ADDRESS, of PyTorch's own index for the processor, it lacks what only GPUs need
FROM python:3.11-slim
ARG PIP_EXTRA_INDEX_URL
ENV PATH=/paper/.venv/bin:$PATH PIP_NO_CACHE_DIR=1
# a compiler for torch.compile, git for the commit in a receipt, and rsync for the jobs of Kubernetes
RUN apt-get update && apt-get install --yes --no-install-recommends g++ git make procps rsync \
    && rm -rf /var/lib/apt/lists/* && useradd --create-home reader && install --directory --owner=reader /paper
USER reader
WORKDIR /paper
COPY --chown=reader Makefile requirements.lock requirements-gpu.lock ./
RUN make .venv/libraries
COPY --chown=reader . .
RUN make setup
CMD ["make", "help"]
