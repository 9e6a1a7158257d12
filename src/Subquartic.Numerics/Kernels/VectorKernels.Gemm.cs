using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Subquartic.Numerics.Tensors;
using Subquartic.Numerics.Threading;

namespace Subquartic.Numerics.Kernels;

internal sealed unsafe partial class VectorKernels<TLanes, TVector>
{
    // Depth of a block: the rows of a task (below) and a panel of B, this deep, share the second-level cache.
    private const int GemmDepthBlock = 512;

    // Values of A packed at a time, unless that is less than the rows of a task: 8 MB, a part of the last-level cache.
    private const int GemmPackedValues = 1 << 21;

    // Rows that share one pass over a panel of B: amortises bringing the panel nearer, and still leaves many tasks.
    private const int GemmTaskRows = 144;

    // A task takes as many panels as keep it from reading its rows of A anew too often, the more the deeper the product, since
    // the rows of a deep one are gone from the cache by the next task; but leaves enough tasks to keep the threads even.
    private const int GemmDepthPerPanel = 256;
    private const int GemmMinPanels = 4;
    private const int GemmMaxPanels = 16;
    private const int GemmTasksPerThread = 4;

    // Below these a fork costs more than it gains: about 2 microseconds of one core.
    private const long MultiplyAddsPerTask = 1 << 18;
    private const int ValuesPerPackTask = 1 << 14;

    private static int GemmPanelWidth => 2 * TLanes.Count;

    public override PackedMatrix Pack(Matrix weight, bool transposed = false, PackedMatrix? reuse = null)
    {
        int n = transposed ? weight.Columns : weight.Rows;
        int k = transposed ? weight.Rows : weight.Columns;
        PackedMatrix packed = reuse ?? new PackedMatrix(Name, n, k, GemmPanelWidth);
        Check.Pack(packed, this, n, k);
        if (n > 0 && k > 0)
        {
            var body = new GemmPack(weight, transposed, packed.Panels, GemmPanelWidth, k, packed.Buffer.Pointer);
            Pool.Run(body.Tasks, ref body);
            GC.KeepAlive(weight.Buffer);
            GC.KeepAlive(packed);
        }

        return packed;
    }

    public override void Gemm(Matrix a, PackedMatrix b, Matrix c, in GemmOptions options = default)
    {
        Check.Gemm(a, b, c, options, this);
        if (c.Rows == 0 || c.Columns == 0)
        {
            return;
        }

        int blocks = DivideUp(c.Rows, Math.Max(GemmTaskRows, GemmPackedValues / Math.Max(1, b.K)));
        using Scratch packed = Scratch.Rent((long)DivideUp(c.Rows, blocks) * b.K);
        for (int block = 0; block < blocks; block++)
        {
            int first = Split(c.Rows, blocks, block);
            int rows = Split(c.Rows, blocks, block + 1) - first;
            Matrix operand = options.TransposeA ? a.SliceColumns(first, rows) : a.SliceRows(first, rows);
            int tiles = DivideUp(rows, TLanes.TileRows);
            var pack = new GemmPack(operand, options.TransposeA, tiles, 0, GemmDepthBlock, packed.Pointer);
            Pool.Run(pack.Tasks, ref pack);
            var multiply = new GemmMultiply(packed.Pointer, b, c, first, rows, tiles, Pool.Threads, options);
            Pool.Run(multiply.Tasks, ref multiply);
        }

        GC.KeepAlive(a.Buffer);
        GC.KeepAlive(b);
        GC.KeepAlive(c.Buffer);
        GC.KeepAlive(options.Bias.Buffer);
        GC.KeepAlive(options.Gate.Buffer);
        GC.KeepAlive(options.Residual.Buffer);
    }

    private static int DivideUp(int value, int divisor) => (value + divisor - 1) / divisor;

    /// <summary>Start of part <paramref name="part"/> of <paramref name="parts"/> nearly equal parts of <paramref name="length"/>.</summary>
    private static int Split(int length, int parts, int part) => (int)((long)length * part / parts);

    /// <summary>Copies panels of rows of a matrix into [block of the depth][panel][depth][row].</summary>
    private readonly struct GemmPack : IParallelBody
    {
        private readonly float* _source;
        private readonly float* _packed;
        private readonly nint _stride;
        private readonly bool _transposed;
        private readonly int _rows;
        private readonly int _depth;
        private readonly int _panels;
        private readonly int _width;
        private readonly int _depthBlock;
        private readonly int _panelsPerTask;

        /// <summary>Describes the work.</summary>
        /// <param name="source">(rows, depth), or (depth, rows) when <paramref name="transposed"/>.</param>
        /// <param name="transposed">Whether the rows of the panels are columns of the source.</param>
        /// <param name="panels">Number of panels.</param>
        /// <param name="width">Rows of every panel, missing ones zero; 0 splits the rows evenly, without filling up.</param>
        /// <param name="depthBlock">Depth of a block; the last one may be shorter.</param>
        /// <param name="packed">Destination.</param>
        public GemmPack(Matrix source, bool transposed, int panels, int width, int depthBlock, float* packed)
        {
            _source = source.Pointer;
            _packed = packed;
            _stride = source.Stride;
            _transposed = transposed;
            _rows = transposed ? source.Columns : source.Rows;
            _depth = transposed ? source.Rows : source.Columns;
            _panels = panels;
            _width = width;
            _depthBlock = depthBlock;
            _panelsPerTask = (int)Math.Clamp((long)panels * ValuesPerPackTask / Math.Max(1, (long)_rows * _depth), 1, panels);
            Tasks = DivideUp(panels, _panelsPerTask);
        }

        public int Tasks { get; }

        public void Invoke(int task)
        {
            int end = Math.Min(_panels, (task + 1) * _panelsPerTask);
            for (int panel = task * _panelsPerTask; panel < end; panel++)
            {
                int first = _width > 0 ? panel * _width : Split(_rows, _panels, panel);
                int next = _width > 0 ? Math.Min(_rows, first + _width) : Split(_rows, _panels, panel + 1);
                int width = _width > 0 ? _width : next - first;
                for (int depth = 0; depth < _depth; depth += _depthBlock)
                {
                    int length = Math.Min(_depthBlock, _depth - depth);
                    float* destination = _packed + ((nint)depth * _rows) + ((nint)first * length);
                    if (_transposed)
                    {
                        CopyColumns(_source + (depth * _stride) + first, _stride, next - first, width, length, destination);
                    }
                    else
                    {
                        Interleave(_source + (first * _stride) + depth, _stride, next - first, width, length, destination);
                    }
                }
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private static void CopyColumns(float* source, nint stride, int columns, int width, int depth, float* destination)
        {
            if (columns == GemmPanelWidth && width == GemmPanelWidth)
            {
                for (int k = 0; k < depth; k++, source += stride, destination += GemmPanelWidth)
                {
                    TLanes.Store(destination, TLanes.Load(source));
                    TLanes.Store(destination + TLanes.Count, TLanes.Load(source + TLanes.Count));
                }

                return;
            }

            if (columns == width && width < TLanes.Count && stride >= TLanes.Count)
            {
                // Whole vectors: what they write too much, the next step overwrites; and what they read too much belongs to the next row.
                for (; depth > 1 && depth * width >= TLanes.Count; depth--, source += stride, destination += width)
                {
                    TLanes.Store(destination, TLanes.Load(source));
                }
            }

            for (int k = 0; k < depth; k++, source += stride, destination += width)
            {
                new ReadOnlySpan<float>(source, columns).CopyTo(new Span<float>(destination, columns));
                new Span<float>(destination + columns, width - columns).Clear();
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private static void Interleave(float* source, nint stride, int rows, int width, int depth, float* destination)
        {
            // Short stretches, so that the lines written, a few values of each at a time, stay in the first cache.
            const int stretch = 256;
            for (int start = 0; start < depth; start += stretch)
            {
                int end = Math.Min(depth, start + stretch);
                int row = 0;
                for (; row + TLanes.Count <= rows; row += TLanes.Count)
                {
                    int k = start;
                    for (; k + TLanes.Count <= end; k += TLanes.Count)
                    {
                        TLanes.Transpose(source + (row * stride) + k, stride, destination + ((nint)k * width) + row, width);
                    }

                    for (; k < end; k++)
                    {
                        for (int i = row; i < row + TLanes.Count; i++)
                        {
                            destination[((nint)k * width) + i] = source[(i * stride) + k];
                        }
                    }
                }

                for (; row + 4 <= rows; row += 4)
                {
                    float* r = source + (row * stride);
                    nint k = start;
                    for (; k + 4 <= end; k += 4)
                    {
                        Lanes128.Transpose(r + k, stride, destination + (k * width) + row, width);
                    }

                    for (; k < end; k++)
                    {
                        Vector128.Store(Vector128.Create(r[k], r[stride + k], r[(2 * stride) + k], r[(3 * stride) + k]), destination + (k * width) + row);
                    }
                }

                for (; row < width; row++)
                {
                    float* r = source + (row * stride);
                    for (nint k = start; k < end; k++)
                    {
                        destination[(k * width) + row] = row < rows ? r[k] : 0;
                    }
                }
            }
        }
    }

    /// <summary>Multiplies packed rows with panels of weights; a task is some row tiles times some panels.</summary>
    private readonly struct GemmMultiply : IParallelBody
    {
        private readonly float* _a;
        private readonly float* _b;
        private readonly int _depth;
        private readonly int _panels;
        private readonly int _panelsPerTask;
        private readonly int _rows;
        private readonly int _tiles;
        private readonly int _rowGroups;
        private readonly int _firstRow;
        private readonly GemmEpilogue _epilogue;

        /// <summary>Describes the work.</summary>
        /// <param name="a">Packed rows, in <paramref name="tiles"/> nearly equal panels.</param>
        /// <param name="b">Packed weights.</param>
        /// <param name="c">The whole output.</param>
        /// <param name="firstRow">Row of the output the packed rows begin with.</param>
        /// <param name="rows">Number of packed rows.</param>
        /// <param name="tiles">Row tiles they are packed in.</param>
        /// <param name="threads">Threads that share the tasks.</param>
        /// <param name="options">What happens before the sums are stored.</param>
        public GemmMultiply(float* a, PackedMatrix b, Matrix c, int firstRow, int rows, int tiles, int threads, in GemmOptions options)
        {
            _a = a;
            _b = b.Buffer.Pointer;
            _depth = b.K;
            _panels = b.Panels;
            _firstRow = firstRow;
            _rows = rows;
            _tiles = tiles;
            _rowGroups = DivideUp(rows, GemmTaskRows);
            long work = (long)DivideUp(rows, _rowGroups) * _depth * GemmPanelWidth;
            int shared = Math.Clamp(_panels * _rowGroups / (GemmTasksPerThread * threads), 1, Math.Clamp(_depth / GemmDepthPerPanel, GemmMinPanels, GemmMaxPanels));
            _panelsPerTask = (int)Math.Clamp(MultiplyAddsPerTask / Math.Max(1, work), shared, Math.Max(shared, _panels));
            Tasks = DivideUp(_panels, _panelsPerTask) * _rowGroups;
            _epilogue = new GemmEpilogue(c, options);
        }

        public int Tasks { get; }

        public void Invoke(int task)
        {
            int firstTile = Split(_tiles, _rowGroups, task % _rowGroups);
            int endTile = Split(_tiles, _rowGroups, (task % _rowGroups) + 1);
            int firstPanel = task / _rowGroups * _panelsPerTask;
            int endPanel = Math.Min(_panels, firstPanel + _panelsPerTask);
            int start = Split(_rows, _tiles, firstTile);
            int rows = Split(_rows, _tiles, endTile) - start;
            nint panelLength = (nint)_depth * GemmPanelWidth;
            using Scratch sums = Scratch.Rent((long)(endPanel - firstPanel) * rows * GemmPanelWidth);
            int depth = 0;
            do
            {
                // Within a block of K all panels meet the same rows, which therefore stay in the second-level cache.
                int length = Math.Min(GemmDepthBlock, _depth - depth);
                for (int panel = firstPanel; panel < endPanel; panel++)
                {
                    float* block = _b + (panel * panelLength) + ((nint)depth * GemmPanelWidth);
                    float* next = panel + 1 < endPanel ? block + panelLength
                        : depth + length < _depth ? _b + (firstPanel * panelLength) + ((nint)(depth + length) * GemmPanelWidth)
                        : _b + (endPanel * panelLength);
                    for (int tile = firstTile; tile < endTile; tile++)
                    {
                        int row = Split(_rows, _tiles, tile);
                        int height = Split(_rows, _tiles, tile + 1) - row;
                        float* a = _a + ((nint)depth * _rows) + ((nint)row * length);
                        float* sum = sums.Pointer + ((nint)(((panel - firstPanel) * rows) + row - start) * GemmPanelWidth);

                        // The first two tiles bring the next block nearer, half each; the only tile brings all of it; later
                        // ones ask for lines that are there.
                        int part = tile - firstTile;
                        float* ahead = part < 2 ? next + ((nint)part * length * TLanes.Count) : block;
                        if (depth + length == _depth)
                        {
                            _epilogue.Prefetch(_firstRow + row, height, panel * GemmPanelWidth);
                        }

                        MultiplyTile<PackedPanel>(
                            height, a, 1, height, block, GemmPanelWidth, length, sum, GemmPanelWidth, depth > 0, ahead,
                            endTile - firstTile == 1 ? GemmPanelWidth : TLanes.Count);
                        if (depth + length == _depth)
                        {
                            _epilogue.Store(sum, _firstRow + row, height, panel * GemmPanelWidth);
                        }
                    }
                }

                depth += length;
            }
            while (depth < _depth);
        }
    }

    /// <summary>C = residual + gate * act(sums + bias), while the sums are in the first cache.</summary>
    private readonly struct GemmEpilogue
    {
        private readonly GemmOperand _c;
        private readonly GemmOperand _bias;
        private readonly GemmOperand _gate;
        private readonly GemmOperand _residual;
        private readonly int _columns;
        private readonly int _rowsPerGate;
        private readonly bool _gelu;

        public GemmEpilogue(Matrix c, in GemmOptions options)
        {
            _c = new GemmOperand(c);
            _bias = new GemmOperand(options.Bias);
            _gate = new GemmOperand(options.Gate);
            _residual = new GemmOperand(options.Residual);
            _columns = c.Columns;
            _rowsPerGate = options.RowsPerGate;
            _gelu = options.Activation == Activation.GeluTanh;
        }

        /// <summary>Asks for what <see cref="Store"/> will add to and overwrite, in time for the product to hide the way.</summary>
        public void Prefetch(int firstRow, int rows, int firstColumn)
        {
            GemmOperand operand = _residual.Exists ? _residual : _c;
            for (int row = firstRow; row < firstRow + rows; row++)
            {
                operand.Prefetch(row, firstColumn);
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Store(float* sums, int firstRow, int rows, int firstColumn)
        {
            int columns = Math.Min(GemmPanelWidth, _columns - firstColumn);
            if (columns == GemmPanelWidth && !_gelu && !_gate.Exists)
            {
                // What training does most often, without a question in the loop.
                TVector left = _bias.Exists ? _bias.Load(0, firstColumn, TLanes.Count) : TLanes.Zero;
                TVector right = _bias.Exists ? _bias.Load(0, firstColumn + TLanes.Count, TLanes.Count) : TLanes.Zero;
                if (_residual.Exists)
                {
                    for (int row = firstRow; row < firstRow + rows; row++, sums += GemmPanelWidth)
                    {
                        TVector a = TLanes.Add(TLanes.Add(TLanes.Load(sums), left), _residual.Load(row, firstColumn, TLanes.Count));
                        TVector b = TLanes.Add(
                            TLanes.Add(TLanes.Load(sums + TLanes.Count), right), _residual.Load(row, firstColumn + TLanes.Count, TLanes.Count));
                        _c.Store(row, firstColumn, TLanes.Count, a);
                        _c.Store(row, firstColumn + TLanes.Count, TLanes.Count, b);
                    }
                }
                else
                {
                    for (int row = firstRow; row < firstRow + rows; row++, sums += GemmPanelWidth)
                    {
                        _c.Store(row, firstColumn, TLanes.Count, TLanes.Add(TLanes.Load(sums), left));
                        _c.Store(row, firstColumn + TLanes.Count, TLanes.Count, TLanes.Add(TLanes.Load(sums + TLanes.Count), right));
                    }
                }

                return;
            }

            for (int row = firstRow; row < firstRow + rows; row++, sums += GemmPanelWidth)
            {
                int gateRow = _gate.Exists ? row / _rowsPerGate : 0;
                for (int j = 0; j < columns; j += TLanes.Count)
                {
                    int column = firstColumn + j;
                    int count = Math.Min(TLanes.Count, columns - j);
                    TVector value = TLanes.Load(sums + j);
                    if (_bias.Exists)
                    {
                        value = TLanes.Add(value, _bias.Load(0, column, count));
                    }

                    if (_gelu)
                    {
                        value = VectorMath<TLanes, TVector>.GeluTanh(value);
                    }

                    if (_gate.Exists)
                    {
                        value = TLanes.Multiply(value, _gate.Load(gateRow, column, count));
                    }

                    if (_residual.Exists)
                    {
                        value = TLanes.Add(value, _residual.Load(row, column, count));
                    }

                    _c.Store(row, column, count, value);
                }
            }
        }
    }

    /// <summary>A matrix, or none, read and written by vectors that may be cut off at the last column.</summary>
    private readonly struct GemmOperand
    {
        private readonly float* _pointer;
        private readonly nint _stride;

        public GemmOperand(Matrix matrix)
        {
            Exists = matrix.Buffer is not null;
            _pointer = Exists ? matrix.Pointer : null;
            _stride = matrix.Stride;
        }

        public bool Exists { get; }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Prefetch(int row, int column)
        {
            float* line = _pointer + (row * _stride) + column;
            TLanes.Prefetch(line);
            TLanes.Prefetch(line + TLanes.Count);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public TVector Load(int row, int column, int count)
        {
            float* source = _pointer + (row * _stride) + column;
            return count == TLanes.Count ? TLanes.Load(source) : VectorMath<TLanes, TVector>.LoadFirst(source, count);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Store(int row, int column, int count, TVector value)
        {
            float* destination = _pointer + (row * _stride) + column;
            if (count == TLanes.Count)
            {
                TLanes.Store(destination, value);
            }
            else
            {
                VectorMath<TLanes, TVector>.StoreFirst(destination, value, count);
            }
        }
    }
}
