import os

SECRET_KEY = "only for this example"  # noqa: S105
ALLOWED_HOSTS = ["localhost"]
ROOT_URLCONF = "project.urls"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": os.environ.get("PGDATABASE", "shop"),
        "USER": os.environ.get("PGUSER", ""),
        "PASSWORD": os.environ.get("PGPASSWORD", ""),
        "HOST": os.environ.get("PGHOST", ""),
        "PORT": os.environ.get("PGPORT", ""),
    }
}
INSTALLED_APPS = ["shop", "pgflow.contrib.django"]
PGFLOW = {"CONCURRENCY": 10, "MIGRATE": True}
