"""The structural rules: why a row was set aside before its values were judged. Ids stand in ``_broken``.

Each with what is demanded and how the department mends it; the sources set rows aside, quality and notices tell.
"""

from __future__ import annotations

from guiji.limits import LARGEST_CELL, LARGEST_ROW, LARGEST_SHAPE

RAGGED = "structure.ragged"
UNCLOSED_QUOTE = "structure.unclosed_quote"
BARE_QUOTE = "structure.bare_quote"
BAD_ESCAPE = "structure.bad_escape"
LINE_BREAK = "structure.line_break"
BROKEN_LINE = "structure.broken_line"
TOTAL_LINE = "structure.total_line"
NULL_MARK = "structure.null_mark"
NUL = "structure.nul"
ENCODING = "structure.encoding"
GARBLED = "structure.garbled"
PRECISION_LOST = "structure.precision_lost"
LEADING_ZERO_LOST = "structure.leading_zero_lost"
TURNED_INTO_DATE = "structure.turned_into_date"
NUMBER_FOR_DATE = "structure.number_for_date"
NUMBER_FORMAT = "structure.number_format"
CELL_ERROR = "structure.cell_error"
MERGED_CELL = "structure.merged_cell"
UNCALCULATED = "structure.uncalculated"
DUPLICATE_KEY = "structure.duplicate_key"
NOT_A_NUMBER = "structure.not_a_number"
NOT_A_RECORD = "structure.not_a_record"
OUT_OF_RANGE = "structure.out_of_range"
TOO_LARGE = "structure.too_large"
TANGLED = "structure.tangled"
NESTED = "structure.nested"
OVERFLOWED = "structure.overflowed"
NOT_A_LITERAL = "structure.not_a_literal"
NOT_A_SHAPE = "structure.not_a_shape"
RING_ORDER = "structure.ring_order"
OTHER_CRS = "structure.other_crs"
EMPTY_FILE = "structure.empty_file"
HALF_A_DOCUMENT = "structure.half_a_document"

#: rule id -> (what is demanded, how it is mended)
STRUCTURE: dict[str, tuple[str, str]] = {
    RAGGED: ("每行的列数必须与表头一致", "请检查该行是否多写或漏写了分隔符、引号，更正后重新报送。"),
    UNCLOSED_QUOTE: ("引号必须成对", "请补上该行缺少的引号，或将单元格中的引号双写，更正后重新报送。"),
    BARE_QUOTE: ("引号必须成对并只用于包裹整个单元格", "请检查该行的引号，单元格中的引号应双写，更正后重新报送。"),
    BAD_ESCAPE: (
        "转义符后只能是分隔符、引号、转义符、换行或 n、r、t",
        "请检查该行的转义符，单元格中的转义符本身应双写，更正后重新报送。",
    ),
    LINE_BREAK: ("单元格内不得有未加引号的换行", "请去掉该单元格中的换行后重新报送。"),
    BROKEN_LINE: (
        "一行数据不得断成几行",
        "与该行相邻的一行只是半行，可能是该行的单元格中间换了行，无法判断文字属于哪一行；"
        "请去掉单元格中的换行（或给单元格加上引号），表格之外的说明文字请移到文件开头，更正后重新报送。",
    ),
    TOTAL_LINE: (
        "主键不得是“合计”“小计”一类的字样",
        "该行像是合计行，无法判断是否为数据；如是合计行，请删去后重新报送，如确是数据，"
        "请联系数据中心在资源目录中登记（layout.total）。",
    ),
    NULL_MARK: (
        r"空值不得写成 \N",
        r"单元格中的 \N 是数据库导出工具写的空值，不是文字；请导出为空单元格后重新报送，"
        "或请数据中心在资源目录中登记（format.escape，或该字段的 null_tokens）。",
    ),
    NUL: ("文本中不得含有空字符（NUL）", "请在业务系统中清除该行的不可见空字符后重新报送。"),
    ENCODING: ("文本必须能按约定的编码读出", "请以 UTF-8 或 GB18030 编码重新导出该行所在的文件。"),
    GARBLED: ("文字不得为乱码", "该行文字在导出或转换时已损坏，无法恢复；请从业务系统重新导出。"),
    PRECISION_LOST: (
        "长数字必须以文本形式提供（精度已丢失）",
        "该单元格的长数字已被表格软件取整，原值无法恢复；请将该列设为文本格式后从业务系统重新导出。",
    ),
    LEADING_ZERO_LOST: (
        "代码必须以文本形式提供（前导零丢失）",
        "该代码前面的零已被表格软件去掉；请将该列设为文本格式后从业务系统重新导出。",
    ),
    TURNED_INTO_DATE: (
        "代码不得被转换为日期",
        "该代码已被表格软件改成日期；请将该列设为文本格式后从业务系统重新导出。",
    ),
    NUMBER_FOR_DATE: (
        "日期不得以带小数的数字形式提供",
        "该单元格是数字（如 2024.1），无法判断是 1 月还是 10 月；请将该列设为日期或文本格式并更正后重新报送。",
    ),
    NUMBER_FORMAT: (
        "文本列的内容不得靠数字格式显示",
        "该单元格存的是数字或日期，显示的文字由单元格格式（如 0000-00-00）拼成，与存储的值不同，无法判断以哪个为准；"
        "请将该列设为文本格式，按显示的内容填写后重新报送。",
    ),
    CELL_ERROR: ("单元格不得为错误值", "请改正该单元格的公式（如 #N/A、#REF!）后重新报送。"),
    UNCALCULATED: (
        "公式必须有计算结果",
        "该公式的结果为零，而文件没有计算过的记录；请在 Excel 中打开、计算并保存，或将该列粘贴为数值后重新报送。",
    ),
    MERGED_CELL: ("数据区不得有合并单元格", "请取消合并并在每一行填写完整后重新报送。"),
    DUPLICATE_KEY: ("一条记录中同一数据项只能出现一次", "请检查接口或导出程序，去掉重复的数据项后重新提供。"),
    NOT_A_NUMBER: ("数值不得为 NaN 或无穷大", "请改为空值或正确的数值后重新提供。"),
    NOT_A_RECORD: ("每条记录必须是一个完整的对象", "请检查接口或导出程序后重新提供。"),
    NESTED: ("每个数据项只能是一个值，不得含有下级内容", "请检查导出程序，把下级内容改为单独的数据项后重新提供。"),
    OVERFLOWED: (
        "数值不得超出字段宽度（显示为 ***）",
        "该数值写入文件时已溢出，原值无法恢复；请加宽该字段后从业务系统重新导出。",
    ),
    NOT_A_LITERAL: (
        "备份文件中的值必须是直接写出的常量",
        "该行的值是函数或表达式，不会被执行；请用数据库自带的备份工具重新导出。",
    ),
    NOT_A_SHAPE: (
        "图形必须完整、由折线构成，并与图层的类型一致",
        "该图形已损坏（类型、点数或环不完整），或含有圆弧等曲线；请在 GIS 软件中修复，曲线转为折线后重新导出。",
    ),
    RING_ORDER: (
        "面的外环与内环（洞）必须能够区分",
        "该图形各环的方向与包含关系矛盾，无法判断哪一环是洞；请在 GIS 软件中修复几何后重新导出。",
    ),
    OTHER_CRS: ("每个图形的坐标系必须与图层一致", "该图形注明了另一个坐标系；请统一转换后重新导出。"),
    EMPTY_FILE: ("文件不得为空", "该文件没有内容；请重新上传完整的文件。"),
    HALF_A_DOCUMENT: ("文件必须完整", "该文件在末尾处中断，可能只上传了一部分；请重新上传完整的文件。"),
    TOO_LARGE: (
        f"每个单元格不得超过 {LARGEST_CELL >> 20} MB（图形 {LARGEST_SHAPE >> 20} MB、{LARGEST_SHAPE >> 4:,} 个点），每行不得超过 {LARGEST_ROW >> 20} MB",
        "请检查该行的内容；附件、照片等请作为文件单独报送，过于复杂的图形请拆分或化简后重新报送。",
    ),
    TANGLED: (
        "图形的边线不得密集到无法核对",
        "该图形有大量长边相互贴近或交错（如锯齿、填充线），系统无法在合理时间内核对，并非认定其有误；"
        "请化简该图形，或拆成几个后重新报送。",
    ),
    OUT_OF_RANGE: ("日期、时间必须在可表示的范围内", "请更正该行的日期（如 infinity、1900-02-29）后重新提供。"),
}
