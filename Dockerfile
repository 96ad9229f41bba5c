# The image holds the program, the libraries that it is linked with and the authorities for TLS; no shell and no package manager.
#
#   docker build -t tidegate:0.1.0 .
#   docker run -e TIDEGATE_UPSTREAM__URI=mongodb://... -e TIDEGATE_LISTENER__0__ADDRESS=0.0.0.0:27017 -p 27017:27017 tidegate:0.1.0

FROM rust:1.95-slim-bookworm AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates=2023* \
    && rm -rf /var/lib/apt/lists/*
# What a build with a profile needs.
RUN rustup component add llvm-tools
WORKDIR /build
COPY . .
# Takes a quarter of an hour on two cores; on one it does not see what several threads do.
RUN cp "$(cargo bench --locked --bench relay -- --build)" /tidegate
# What the program is linked with goes where it looks for it. Names are resolved by the C library, which reads /etc/hosts only if it is told to.
RUN mkdir -p /image/usr/local/bin /image/etc/ssl/certs /image/etc/tidegate \
    && cp /tidegate /image/usr/local/bin/ \
    && ldd /tidegate | grep -o '/[^ ]*' | xargs cp --parents --dereference --target-directory=/image \
    && cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ \
    && echo 'hosts: files dns' > /image/etc/nsswitch.conf \
    && echo 'tidegate:x:65532:65532::/:/sbin/nologin' > /image/etc/passwd \
    && echo 'tidegate:x:65532:' > /image/etc/group

FROM scratch
COPY --from=build /image /
ENV PATH=/usr/local/bin
USER 65532:65532
EXPOSE 27017 9218
# On SIGTERM it drains: give it --stop-timeout 30.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["tidegate", "status", "--ready"]
ENTRYPOINT ["tidegate"]
CMD ["run"]
