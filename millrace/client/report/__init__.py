"""The report page: everything the auditor and the trainer have written about a deployment, as one file of HTML."""

from millrace.client.report.composing import compose
from millrace.client.report.material import Material
from millrace.client.report.reading import WINDOWS, gather
from millrace.client.report.rendering import render

__all__ = ["WINDOWS", "Material", "compose", "gather", "render"]
