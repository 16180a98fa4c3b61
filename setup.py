"""wsc-ray's package: ranges here, the versions it was tested with in constraints.txt."""

from pathlib import Path

from setuptools import find_packages, setup

version = next(
    line.split('"')[1]
    for line in Path("wsc_ray/__init__.py").read_text().splitlines()
    if line.startswith("__version__")
)

SLIDES = [
    "openslide-python>=1.4",
    "openslide-bin>=4",
    "tifffile>=2025.1",  # finds the stored tiles of a TIFF (BSD), and needs nothing but numpy
]

setup(
    name="wsc-ray",
    version=version,
    description="Weakly supervised contrastive pretraining of pathology patch encoders on a Ray cluster",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=[*find_packages(include=["wsc_ray", "wsc_ray.*"]), "wsc_ray.jobs"],
    package_dir={"wsc_ray.jobs": "jobs"},  # what is submitted to a cluster travels from an installed package too
    package_data={
        "wsc_ray.jobs": ["recipes/*.yaml"],
        "wsc_ray.prices": ["list.csv"],
        "wsc_ray.tiling": ["templates/*.html"],
        "wsc_ray.report": ["page/*"],
    },
    python_requires=">=3.11",
    install_requires=[
        "ray[default,data,train,tune]>=2.60,<3",
        "torch>=2.9",
        "torchvision>=0.24",
        "timm>=1.0.20",
        "huggingface_hub>=0.34",  # the cache of timm's weights; timm brings it (Apache-2.0)
        "safetensors>=0.5",
        "pyarrow>=17",
        "fsspec>=2024.6",
        "numpy>=2",
        "scipy>=1.11",  # optimisation and distributions (BSD); mlflow brings it too
        "scikit-learn>=1.5",  # folds by patient and label, linear probes (BSD); mlflow brings it too
        "threadpoolctl>=3.1",  # k-means on one thread, which rounds the same everywhere (BSD); scikit-learn brings it too
        "opencv-python-headless>=4.10",  # augmentation, and PNG
        "simplejpeg>=1.8",  # turbo JPEG without a detour (MIT): every patch is decoded once an epoch
        "pillow>=11",  # patches that are neither JPEG nor PNG, and timm's resizing (MIT-CMU); torchvision brings it too
        "h5py>=3.11",
        "shapely>=2.1",  # outlines of attention, exact where squares touch or overlap (BSD, GEOS inside), and needs nothing but numpy
        "mlflow>=3.1",
        "optuna>=5",  # TPE, through Ray Tune's searcher (MIT)
        "matplotlib>=3.8",  # the picture of `bench scaling`; mlflow brings it too
        "jinja2>=3.1",  # the pages of `tile` and `report`, which have to escape every id (BSD); torch brings it too
        "vl-convert-python>=1.8",  # Vega-Lite as one script, which `report` draws its charts with offline (BSD)
        "pydantic>=2.8",
        "pyyaml>=6",
        "click>=8.1",
        "tqdm>=4.66",
        "psutil>=5.9",
    ],
    extras_require={
        "slides": SLIDES,  # what `tile` reads with; cuCIM reads too, and OpenSlide more formats
        "probe": ["faiss-cpu>=1.8", "croma>=1"],  # neighbours of `probe` (MIT), and its robustness index (Apache-2.0)
        "cpu": ["faiss-cpu>=1.8", *SLIDES],
        # cuCIM for CUDA 13, as torch; faiss-gpu brings its own CUDA 12 libraries, which a driver for 13 runs beside them.
        "gpu": ["cucim-cu13>=25.10", "faiss-gpu>=1.12"],
        "bench": [
            "lightly>=1.6",
            "pytorch-metric-learning>=2.9",  # `python -m benchmarks.loss` compares ours with its losses, and with lightly's
            "wsistream==0.1.6",  # `python -m benchmarks.slides` compares reading from slides with it (MIT)
        ],
        "dev": [
            "pytest>=8",
            "pytest-xdist>=3.7",  # two files side by side: most tests wait for processes to start (MIT)
            "hypothesis>=6",
            "ruff>=0.12",
            "mypy>=2.4",  # the type checker of `make lint` (MIT), and the types of libraries that ship none
            "pandas-stubs>=2",
            "types-psutil>=5.9",
            "types-PyYAML>=6",
            "types-shapely>=2.1",
            "types-tqdm>=4.66",
            "pandas>=2",
            "tifffile>=2025.1",  # writes the slides that tests read (BSD)
            "croma>=1",
            "moto[server]>=5",
            "playwright>=1.50",  # drives Chromium in the tests of `report` (Apache-2.0)
            "axe-playwright-python>=0.1.4",  # axe-core, which finds what screen readers stumble over (MIT; axe-core MPL-2.0)
            "torchmil>=1.0.2",  # whose MIL heads ours are compared with (Apache-2.0)
            "google-api-python-client>=2.100",  # with which Ray's launcher talks to Google Cloud, here to a stand-in
            "kubernetes-validate>=1.35",  # Kubernetes' own schemas, for the pods in cluster/kuberay.yaml
        ],
    },
    entry_points={"console_scripts": ["wsc-ray=wsc_ray.__main__:main"]},
)
