# The app on a processor: docker build -t molyneux . && docker run --rm -p 127.0.0.1:7860:7860 -v molyneux:/data molyneux
FROM python:3.13-slim

# torch without CUDA is a tenth of the size
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --no-cache-dir --index-url "$TORCH_INDEX" torch torchvision

COPY pyproject.toml README.md LICENSE /build/
COPY src /build/src
RUN pip install --no-cache-dir "/build[app,mini]" && rm -r /build

RUN useradd --create-home --uid 1000 molyneux && mkdir /data && chown molyneux /data
USER molyneux
WORKDIR /data
ENV MOLYNEUX_CACHE=/data/cache HF_HOME=/data/hub
VOLUME /data
EXPOSE 7860

CMD ["molyneux", "app", "--host", "0.0.0.0", "--port", "7860", "--no-browser", "--folder", "/data/app"]
