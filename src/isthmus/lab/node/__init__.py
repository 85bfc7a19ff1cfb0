"""The node of a lab cluster: kubelet, scheduler, DNS and service proxy in one process in the node's
namespace.

All that it knows comes from the Kubernetes API, through `CLUSTER_DIR/node.kubeconfig`. Pods are processes in
namespaces of their own. Resource requests and limits mean nothing here.
"""
