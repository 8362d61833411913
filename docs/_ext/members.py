"""What a class or a module has, one line each, before the members at length."""

from docutils import nodes
from sphinx import addnodes

FEW = 2  # members that need no list
HEADINGS = {"property": "Attributes", "attribute": "Attributes", "class": "Classes", "function": "Functions"}


def list_members(app, doctree):
    """Put the lists before the first member of each class, and of each page that describes a module."""
    for parent in [*doctree.findall(addnodes.desc_content), *doctree.findall(nodes.section)]:
        members = [one for one in parent.children if isinstance(one, addnodes.desc) and one[0].get("ids")]
        if len(members) > FEW:
            place = parent.index(members[0])
            parent[place:place] = [part for heading in by_heading(members).items() for part in section(*heading)]


def by_heading(members):
    """Members under their headings, in the order in which they come."""
    headings = {}
    for member in members:
        headings.setdefault(HEADINGS.get(member["objtype"], "Methods"), []).append(member)
    return headings


def section(heading, members):
    """A heading, and a table of names and first sentences."""
    body = nodes.tbody("", *(row(member) for member in members))
    columns = (nodes.colspec(colwidth=30), nodes.colspec(colwidth=70))
    return nodes.rubric("", heading), nodes.table("", nodes.tgroup("", *columns, body, cols=2), classes=["members"])


def row(member):
    """The name, which leads to the member on the same page, and the first paragraph of its docstring."""
    signature = member[0]
    name = signature.next_node(addnodes.desc_name).astext()
    link = nodes.reference("", "", nodes.literal(text=name), refid=signature["ids"][0], internal=True)
    told = next((one.deepcopy() for one in member[-1].children if isinstance(one, nodes.paragraph)), nodes.paragraph())
    return nodes.row("", nodes.entry("", nodes.paragraph("", "", link)), nodes.entry("", told))


def setup(app):
    app.connect("doctree-read", list_members)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
