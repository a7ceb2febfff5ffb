"""Alerts and dashboards, judged by Prometheus' own tool."""
