"""oddwire.schema.csv_rows."""

import importlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddwire.errors import SchemaError
from oddwire.schema.csv_rows import MAX_FIELDS, MAX_NESTING, REST, CsvField, read_csv

FUNDAMENTAL = {"byte": False, "u16": False, "u32": False, "point": False, "tu32": True}


def read(*lines):
    return read_csv([lines], FUNDAMENTAL)


def test_rows_become_definitions_in_the_order_written():
    csv = read(
        "msgtype,hello,18,option_hello",
        "msgdata,hello,len,u16,",
        "msgdata,hello,names,name,len",
        "msgdata,hello,key,byte,32",
        "msgdata,hello,tlvs,hello_tlvs,",
        "subtype,name",
        "subtypedata,name,letter,byte,",
        "tlvtype,hello_tlvs,fee,2",
        "tlvdata,hello_tlvs,fee,amount,tu32,",
        "tlvtype,hello_tlvs,rest,65537",
        "tlvdata,hello_tlvs,rest,data,byte,...",
        "msgtype,stop,0",
    )
    assert list(csv.messages) == ["hello", "stop"]
    hello = csv.messages["hello"]
    assert (hello.number, hello.option, hello.line) == (18, "option_hello", "line 1")
    assert list(hello.fields.values()) == [
        CsvField("len", "u16", None, "", "line 2"),
        CsvField("names", "name", "len", "", "line 3"),
        CsvField("key", "byte", 32, "", "line 4"),
        CsvField("tlvs", "hello_tlvs", None, "", "line 5"),
    ]
    assert list(csv.subtypes) == ["name"]
    assert {name: record.number for name, record in csv.streams["hello_tlvs"].items()} == {"fee": 2, "rest": 65537}
    assert csv.streams["hello_tlvs"]["rest"].fields["data"].count == REST
    assert csv.messages["stop"].fields == {}


def test_comments_blank_lines_spaces_and_missing_empty_cells_do_not_matter():
    plain = read("msgtype,hello,18", "msgdata,hello,len,u16,", "msgdata,hello,data,byte,len")
    loose = read_csv(
        ["# a comment\n\nmsgtype, hello ,18 # another\r\n  msgdata,hello,len,u16\nmsgdata,hello,data,byte,len,\n"],
        FUNDAMENTAL,
    )
    assert [(f.name, f.type, f.count) for f in plain.messages["hello"].fields.values()] == [
        (f.name, f.type, f.count) for f in loose.messages["hello"].fields.values()
    ]


def test_core_lightnings_surplus_commas_and_hex_numbers_are_read():
    csv = read(
        *("msgtype,hello,0xFFF0,,,", "msgdata,hello,data,byte,0x20,,,", "subtype,s,,", "subtypedata,s,x,u16,,,,"),
        *("tlvtype,hello_tlvs,fee,0Xfe,,", "tlvdata,hello_tlvs,fee,amount,u16,,"),
    )
    assert (csv.messages["hello"].number, csv.messages["hello"].option) == (0xFFF0, "")
    assert csv.messages["hello"].fields["data"].count == 32
    assert csv.streams["hello_tlvs"]["fee"].number == 0xFE
    with pytest.raises(SchemaError, match=r"line 1: should be msgtype,name,number\[,option\], not 'msgtype,a,1,,,x'"):
        read("msgtype,a,1,,,x")
    with pytest.raises(SchemaError, match="line 1: number should be 0 to 65535, not 65536"):
        read("msgtype,a,0x10000")


def test_texts_use_each_others_types_and_errors_name_the_text():
    offer = "tlvtype,offer,paths,2\ntlvdata,offer,paths,paths,path,..."
    onion = ["subtype,path", "subtypedata,path,node,point", "msgtype,reply,1", "msgdata,reply,offer,offer"]
    for sources in ([offer, onion], [onion, offer]):
        csv = read_csv(sources, FUNDAMENTAL)
        assert csv.streams["offer"]["paths"].fields["paths"].type == "path"
        assert csv.build_order == ["path", "offer"]
    with pytest.raises(
        SchemaError, match=r"^line 2: .* not 'path'; another text may define it: load_csv\(text, other\)$"
    ):
        read_csv([offer], FUNDAMENTAL)
    with pytest.raises(
        SchemaError, match=r"^text 2, line 1: record offer.other has number 2, .* of paths in text 1, line 1"
    ):
        read_csv([offer, "tlvtype,offer,other,2"], FUNDAMENTAL)
    with pytest.raises(SchemaError, match=r"^text 2, line 3: message reply is defined already, in text 1, line 3"):
        read_csv([onion, "\n\nmsgtype,reply,3", offer], FUNDAMENTAL)


def test_messages_of_different_texts_may_share_a_number():
    csv = read_csv(["msgtype,ping,18", "msgtype,final_incorrect_cltv_expiry,18"], FUNDAMENTAL)
    assert [definition.number for definition in csv.messages.values()] == [18, 18]


def test_failure_codes_are_written_with_flags():
    csv = read("msgtype,a,PERM|NODE|2", "msgtype,b,UPDATE|7", "msgtype,c,BADONION|PERM|4")
    assert [message.number for message in csv.messages.values()] == [0x6002, 0x1007, 0xC004]


def test_one_length_may_count_several_arrays_and_stand_anywhere_before():
    csv = read(
        "msgtype,a,1",
        "msgdata,a,n,byte",
        "msgdata,a,flag,byte",
        "msgdata,a,x,point,n",
        "msgdata,a,y,byte,n",
    )
    assert [f.count for f in csv.messages["a"].fields.values()] == [None, None, "n", "n"]


def test_types_are_built_before_their_users():
    csv = read(
        "subtype,outer",
        "subtypedata,outer,x,inner,3",
        "tlvtype,stream,record,1",
        "tlvdata,stream,record,y,outer,...",
        "subtype,inner",
        "subtypedata,inner,z,u16,",
    )
    assert csv.build_order == ["inner", "outer", "stream"]


@pytest.mark.parametrize("bolt", ["bolt1", "bolt2", "bolt7"])
def test_the_bolts_csv_is_read(bolt):
    lines = importlib.import_module(f"pyln.spec.{bolt}").csv
    names = {"chain_hash", "channel_id", "sha256", "short_channel_id", "signature", "u64", "bigsize"}
    csv = read_csv([lines], FUNDAMENTAL | dict.fromkeys(names, False) | {"tu64": True})
    assert sum(len(message.fields) for message in csv.messages.values()) == len(
        [line for line in lines if line.startswith("msgdata,")]
    )


def chain(depth):
    return [[f"subtype,t{i}", f"subtypedata,t{i},x,{f't{i + 1}' if i < depth - 1 else 'u16'}"] for i in range(depth)]


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        (["msg,a,1"], r"line 1: first cell should be one of msgtype, .*, not 'msg'"),
        (["msgtype,a"], r"line 1: should be msgtype,name,number\[,option\], not 'msgtype,a'"),
        (["msgtype,a,1,b,c"], r"line 1: should be msgtype,name,number"),
        (["subtype,a,b"], r"line 1: should be subtype,name, not"),
        (["", "msgtype,2a,1"], r"line 2: name should be a letter, .*, not '2a'"),
        (["msgtype,class,1"], r"no Python keyword, not 'class'"),
        (["msgtype,_a,1"], r"not '_a'"),
        (["msgtype,a,-1"], r"line 1: number should be 0 to 65535, not '-1'"),
        (["msgtype,a,65536"], r"number should be 0 to 65535, not 65536"),
        (["msgtype,a,PERM|"], r"number should be 0 to 65535, not 'PERM|'"),
        (["msgtype,a," + "9" * 5000], r"number should be 0 to 65535, not '9"),
        (["tlvtype,s,r,18446744073709551616"], r"number should be 0 to 18446744073709551615"),
        (["msgtype,a,1", "msgtype,a,2"], r"line 2: message a is defined already, in line 1"),
        (
            ["msgtype,a,1", "msgtype,b,1"],
            r"line 2: message b has number 1, .* of a in line 1: it should have another",
        ),
        (["subtype,a", "subtype,a"], r"line 2: subtype a is defined already, in line 1"),
        (["tlvtype,s,r,1", "tlvtype,s,r,2"], r"line 2: record s.r is defined already, in line 1"),
        (["tlvtype,s,r,1", "tlvtype,s,q,1"], r"line 2: record s.q has number 1, which is that of r in line 1"),
        (["subtype,u16"], r"subtype u16 should not have the name of a fundamental type"),
        (["tlvtype,point,r,1"], r"TLV stream point should not have the name of a fundamental type"),
        (["subtype,a", "tlvtype,a,r,1"], r"line 2: TLV stream a should not have the name of the subtype in line 1"),
        (["msgdata,a,x,u16"], r"line 1: there should be a msgtype,a,NUMBER"),
        (["subtypedata,a,x,u16"], r"line 1: there should be a subtype,a$"),
        (["tlvdata,s,r,x,u16"], r"line 1: there should be a tlvtype,s,r,NUMBER"),
        (
            ["msgtype,a,1", "msgdata,a,x,u17"],
            r"type of a.x should be fundamental, a subtype or a TLV stream, not 'u17'",
        ),
        (["msgtype,a,1", "msgdata,a,x,u16", "msgdata,a,x,u16"], r"line 3: field a.x is defined already, in line 2"),
        (
            ["msgtype,a,1", "msgdata,a,x,u16,n"],
            r"count of a.x should be a number, \.\.\. or a field before it, not 'n'",
        ),
        (["msgtype,a,1", "msgdata,a,x,byte,n", "msgdata,a,n,u16"], r"line 2: count of a.x should be .* before it"),
        (["msgtype,a,1", "msgdata,a,x,u16,65536"], r"count of a.x should be 0 to 65535, not 65536"),
        (["msgtype,a,1", "msgdata,a,n,point", "msgdata,a,x,u16,n"], r"count field a.n should be one of .*, not point"),
        (["msgtype,a,1", "msgdata,a,n,u16,2", "msgdata,a,x,u16,n"], r"count field a.n should be .*, not 2\*u16"),
        (
            ["msgtype,a,1", "msgdata,a,n,u16", "msgdata,a,x,u16,n,opt"],
            r"a.x and its count field n should both have an option, or neither",
        ),
        (["msgtype,a,1", "msgdata,a,x,u16,,opt", "msgdata,a,y,u16"], r"line 3: a.y follows an optional field"),
        (
            ["msgtype,a,1", "msgdata,a,x,tu32", "msgdata,a,y,u16"],
            r"line 3: tu32 takes .*: x should be the last field of a",
        ),
        (["msgtype,a,1", "msgdata,a,x,byte,...", "msgdata,a,y,u16"], r"line 3: \.\.\.\*byte takes all that remains"),
        (["msgtype,a,1", "msgdata,a,x,tu32,3"], r"line 2: a.x should have no count: tu32 takes all that remains"),
        (["msgtype,a,1", "msgdata,a,x,s,3", "tlvtype,s,r,1"], r"line 2: a.x should have no count: s takes all"),
        (
            ["msgtype,a,1", "msgdata,a,x,t,2", "subtype,t", "subtypedata,t,y,tu32"],
            r"line 2: a.x should have no count: t takes all that remains",
        ),
        (["msgtype,a,1", "msgdata,a,x,tu32"], r"line 2: a.x should not be a tu32: that is for the end of a TLV record"),
        (
            ["msgtype,a,1", "msgdata,a,x,t", "subtype,t", "subtypedata,t,y,tu32"],
            r"line 2: a.x should not be a tu32: that is for the end of a TLV record, and messages may go on",
        ),
        (["subtype,a"], r"line 1: subtype a should have at least one subtypedata row"),
        (
            ["subtype,a", "subtypedata,a,x,a"],
            r"line 2: a should not contain itself: a -> a; make one of them bytes",
        ),
        (
            ["subtype,a", "subtypedata,a,x,s", "tlvtype,s,r,1", "tlvdata,s,r,y,a"],
            r"line 4: a should not contain itself: a -> s -> a",
        ),
    ],
)
def test_errors_name_the_line_what_is_wrong_and_what_would_be_right(lines, error):
    with pytest.raises(SchemaError, match=error):
        read(*lines)


@pytest.mark.parametrize("order", [1, -1], ids=["outermost first", "innermost first"])
def test_types_nest_up_to_a_limit(order):
    deepest = chain(MAX_NESTING)[::order]
    assert len(read(*itertools.chain(*deepest)).build_order) == MAX_NESTING
    for depth in (MAX_NESTING + 1, 5000):
        with pytest.raises(SchemaError, match=r"line \d+: types should nest at most 16 deep, t\d+ nests deeper"):
            read(*itertools.chain(*chain(depth)[::order]))


@pytest.mark.parametrize("kind", ["subtype", "tlv"])
def test_few_rows_do_not_make_many_fields(kind):
    rows = ["msgtype,a,1", "msgdata,a,x,t0,"]
    for i in range(MAX_NESTING):
        inner = f"t{i + 1}" if i < MAX_NESTING - 1 else "u16"
        if kind == "subtype":
            rows += [f"subtype,t{i}", f"subtypedata,t{i},x,{inner},", f"subtypedata,t{i},y,{inner},"]
        else:
            rows += [
                f"tlvtype,t{i},x,1",
                f"tlvdata,t{i},x,v,{inner},",
                f"tlvtype,t{i},y,2",
                f"tlvdata,t{i},y,v,{inner},",
            ]
    with pytest.raises(SchemaError, match=rf"line \d+: \w+ should have at most {MAX_FIELDS} fields"):
        read(*rows)


def test_a_message_has_many_fields_but_not_any_number():
    rows = ["msgtype,a,1", *(f"msgdata,a,x{i},byte" for i in range(MAX_FIELDS))]
    assert len(read(*rows).messages["a"].fields) == MAX_FIELDS
    with pytest.raises(SchemaError, match=rf"line {MAX_FIELDS + 2}: a should have at most {MAX_FIELDS} fields"):
        read(*rows, "msgdata,a,more,byte")


kinds = st.sampled_from(["msgtype", "msgdata", "subtype", "subtypedata", "tlvtype", "tlvdata"])
names = st.sampled_from(["a", "b", "s", "n", "u16", "byte", "tu32", "class", ""])
numbers = st.sampled_from(
    ["1", "2", "-1", "...", "PERM", "PERM|1", "99999999999999999999", "\N{ARABIC-INDIC DIGIT ONE}"]
)
rows = st.builds(
    lambda *cells: ",".join(itertools.chain(*cells)), st.tuples(kinds), st.lists(names | numbers, max_size=5)
)


@given(st.lists(rows, max_size=12) | st.lists(st.text(max_size=30), max_size=5))
def test_any_text_is_read_or_a_schema_error_with_a_line(lines):
    try:
        read_csv(["\n".join(lines)], FUNDAMENTAL)
    except SchemaError as error:
        text = str(error)
    else:
        return
    assert text.startswith("line ")


@given(st.lists(st.lists(rows, max_size=6), min_size=2, max_size=4))
def test_any_texts_are_read_or_a_schema_error_with_text_and_line(texts):
    try:
        read_csv(["\n".join(lines) for lines in texts], FUNDAMENTAL)
    except SchemaError as error:
        found = str(error)
    else:
        return
    assert found.startswith("text ")
