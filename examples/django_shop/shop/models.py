from django.db import models


class Order(models.Model):
    item = models.CharField(max_length=80)
    box = models.CharField(max_length=80, blank=True)
    shipped = models.BooleanField(default=False)
