"""An embedded Kubernetes API server: what kubectl, helm and the mesh need of one, in memory, in one process.

It may do less than Kubernetes 1.36 does, never otherwise: what it answers, it answers with the same status
codes, reasons and words.
"""
