# The book's environment, of the versions in requirements.lock, without root:
#   docker build -t complexity-control .
#   docker run --rm -v "$PWD/book:/paper/book" complexity-control make check
FROM python:3.11-slim
# a compiler for torch.compile, and git for the commit in a receipt
RUN apt-get update && apt-get install --yes --no-install-recommends g++ git make && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home reader && install --directory --owner=reader /paper
USER reader
WORKDIR /paper
ENV PATH=/paper/.venv/bin:$PATH
COPY --chown=reader requirements.lock .
RUN python -m venv .venv && pip install --no-cache-dir --requirement requirements.lock
COPY --chown=reader . .
RUN pip install --no-cache-dir --no-deps --editable . && touch .venv/ready
CMD ["make", "help"]
