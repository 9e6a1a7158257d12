using System.Runtime.CompilerServices;
using Subquartic.Numerics.Tensors;
using Subquartic.Numerics.Threading;

namespace Subquartic.Numerics.Kernels;

internal sealed unsafe partial class VectorKernels<TLanes, TVector>
{
    // A few microseconds of one thread; less is not worth handing out.
    private const int RowValuesPerTask = 1 << 14;

    // Elementwise functions see a span as rows of this length.
    private const int MapLength = 1 << 12;

    public override void LayerNormModulate(Matrix x, Matrix scale, Matrix shift, int rowsPerImage, float epsilon, Matrix y)
    {
        Check.LayerNorm(x, scale, shift, rowsPerImage, y);
        if (x.Rows > 0)
        {
            RunRows(x.Rows, x.Columns, new LayerNormRow(x, scale, shift, rowsPerImage, epsilon, y));
        }

        GC.KeepAlive(x.Buffer);
        GC.KeepAlive(scale.Buffer);
        GC.KeepAlive(shift.Buffer);
        GC.KeepAlive(y.Buffer);
    }

    public override void Softmax(Matrix x, Matrix y)
    {
        Check.SameShape(x, y);
        if (x.Rows > 0)
        {
            RunRows(x.Rows, x.Columns, new SoftmaxRow(x.Pointer, x.Stride, y.Pointer, y.Stride, x.Columns));
        }

        GC.KeepAlive(x.Buffer);
        GC.KeepAlive(y.Buffer);
    }

    public override void Exp(ReadOnlySpan<float> x, Span<float> y) => Map<ExpFunction>(x, y);

    public override void Silu(ReadOnlySpan<float> x, Span<float> y) => Map<SiluFunction>(x, y);

    public override void Gelu(ReadOnlySpan<float> x, Span<float> y) => Map<GeluFunction>(x, y);

    public override void NormalizeHeads(HeadTensor x, ReadOnlySpan<float> factors, HeadTensor y, HeadTensor lengths)
    {
        Check.NormalizeHeads(x, factors, y, lengths);
        fixed (float* factor = factors)
        {
            RunRows(x.Batch * x.Heads * x.Rows, x.Width, new NormalizeRow(x, factor, y, lengths));
        }

        GC.KeepAlive(lengths.Buffer);

        GC.KeepAlive(x.Buffer);
        GC.KeepAlive(y.Buffer);
    }

    private void Map<TFunction>(ReadOnlySpan<float> x, Span<float> y)
        where TFunction : struct, IFunction
    {
        Check.SameLength(x, y);
        fixed (float* source = x, destination = y)
        {
            RunRows(DivideUp(x.Length, MapLength), MapLength, new MapRow<TFunction>(source, destination, x.Length));
        }
    }

    private void RunRows<TRow>(int rows, int columns, TRow row)
        where TRow : struct, IParallelBody
    {
        var group = new RowGroup<TRow>(row, rows, Math.Clamp(RowValuesPerTask / Math.Max(1, columns), 1, Math.Max(1, rows)));
        Pool.Run(DivideUp(rows, group.RowsPerTask), ref group);
    }

    private interface IFunction
    {
        static abstract TVector Invoke(TVector x);
    }

    private readonly struct ExpFunction : IFunction
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static TVector Invoke(TVector x) => VectorMath<TLanes, TVector>.Exp(x);
    }

    private readonly struct SiluFunction : IFunction
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static TVector Invoke(TVector x) => VectorMath<TLanes, TVector>.Silu(x);
    }

    private readonly struct GeluFunction : IFunction
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static TVector Invoke(TVector x) => VectorMath<TLanes, TVector>.GeluTanh(x);
    }

    /// <summary>Makes tasks of several rows.</summary>
    private struct RowGroup<TRow>(TRow row, int rows, int rowsPerTask) : IParallelBody
        where TRow : struct, IParallelBody
    {
        private TRow _row = row;

        public readonly int RowsPerTask => rowsPerTask;

        public void Invoke(int task)
        {
            int end = Math.Min(rows, (task + 1) * rowsPerTask);
            for (int i = task * rowsPerTask; i < end; i++)
            {
                _row.Invoke(i);
            }
        }
    }

    private readonly struct MapRow<TFunction>(float* source, float* destination, int length) : IParallelBody
        where TFunction : struct, IFunction
    {
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Invoke(int task)
        {
            float* x = source + ((nint)task * MapLength);
            float* y = destination + ((nint)task * MapLength);
            int count = Math.Min(MapLength, length - (task * MapLength));
            int j = 0;
            for (; j + TLanes.Count <= count; j += TLanes.Count)
            {
                TLanes.Store(y + j, TFunction.Invoke(TLanes.Load(x + j)));
            }

            VectorMath<TLanes, TVector>.StoreFirst(y + j, TFunction.Invoke(VectorMath<TLanes, TVector>.LoadFirst(x + j, count - j)), count - j);
        }
    }

    /// <summary>Mean and variance in two passes (one pass of squares would cancel), then one multiply-add per value.</summary>
    private readonly struct LayerNormRow : IParallelBody
    {
        private readonly float* _x;
        private readonly float* _scale;
        private readonly float* _shift;
        private readonly float* _y;
        private readonly nint _xStride;
        private readonly nint _scaleStride;
        private readonly nint _shiftStride;
        private readonly nint _yStride;
        private readonly int _columns;
        private readonly int _rowsPerImage;
        private readonly float _epsilon;

        public LayerNormRow(Matrix x, Matrix scale, Matrix shift, int rowsPerImage, float epsilon, Matrix y)
        {
            _x = x.Pointer;
            _xStride = x.Stride;
            _scale = scale.Pointer;
            _scaleStride = scale.Stride;
            _shift = shift.Pointer;
            _shiftStride = shift.Stride;
            _y = y.Pointer;
            _yStride = y.Stride;
            _columns = x.Columns;
            _rowsPerImage = rowsPerImage;
            _epsilon = epsilon;
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Invoke(int row)
        {
            float* x = _x + (row * _xStride);
            float* y = _y + (row * _yStride);
            float* scale = _scale + (row / _rowsPerImage * _scaleStride);
            float* shift = _shift + (row / _rowsPerImage * _shiftStride);
            float mean = SumOf<Value>(x, 0, _columns) / _columns;
            float inverse = (float)(1 / Math.Sqrt((SumOf<SquaredDistance>(x, mean, _columns) / (double)_columns) + _epsilon));
            int j = 0;
            TVector center = TLanes.Broadcast(mean), factor = TLanes.Broadcast(inverse), one = TLanes.Broadcast(1f);
            for (; j + TLanes.Count <= _columns; j += TLanes.Count)
            {
                TVector value = TLanes.Multiply(TLanes.Subtract(TLanes.Load(x + j), center), factor);
                value = TLanes.MultiplyAdd(value, TLanes.Add(one, TLanes.Load(scale + j)), TLanes.Load(shift + j));
                TLanes.Store(y + j, value);
            }

            for (; j < _columns; j++)
            {
                y[j] = ((x[j] - mean) * inverse * (1 + scale[j])) + shift[j];
            }
        }
    }

    private readonly struct SoftmaxRow(float* x, nint xStride, float* y, nint yStride, int columns) : IParallelBody
    {
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Invoke(int row)
        {
            float* source = x + (row * xStride);
            float* destination = y + (row * yStride);
            float max = MaxOf(source, columns);
            TVector top = TLanes.Broadcast(max);
            int j = 0;
            for (; j + TLanes.Count <= columns; j += TLanes.Count)
            {
                TLanes.Store(destination + j, VectorMath<TLanes, TVector>.Exp(TLanes.Subtract(TLanes.Load(source + j), top)));
            }

            TVector rest = VectorMath<TLanes, TVector>.LoadFirst(source + j, columns - j);
            VectorMath<TLanes, TVector>.StoreFirst(destination + j, VectorMath<TLanes, TVector>.Exp(TLanes.Subtract(rest, top)), columns - j);
            Multiply(destination, 1 / SumOf<Value>(destination, 0, columns), destination, columns);
        }
    }

    private readonly struct NormalizeRow(HeadTensor x, float* factors, HeadTensor y, HeadTensor lengths) : IParallelBody
    {
        private readonly float* _x = x.Buffer.Pointer + x.Offset;
        private readonly float* _y = y.Buffer.Pointer + y.Offset;

        public void Invoke(int task)
        {
            (int head, int row) = Math.DivRem(task, x.Rows);
            (int image, head) = Math.DivRem(head, x.Heads);
            float* source = _x + (image * x.BatchStride) + (head * x.HeadStride) + ((nint)row * x.RowStride);
            float* destination = _y + (image * y.BatchStride) + (head * y.HeadStride) + ((nint)row * y.RowStride);
            double norm = Math.Sqrt(SumOf<SquaredDistance>(source, 0, x.Width));
            double factor = factors is null ? 1 : factors[head];
            norm = Math.Max(norm, 1e-12);
            if (lengths.Buffer is not null)
            {
                lengths.Buffer.Pointer[lengths.Offset + (image * lengths.BatchStride) + (head * lengths.HeadStride) + ((nint)row * lengths.RowStride)] = (float)norm;
            }

            Multiply(source, (float)(factor / norm), destination, x.Width);
        }
    }

    /// <summary>A term of a sum over a row; both forms must agree, since the tail of a row uses the second.</summary>
    private interface ITerm
    {
        static abstract TVector Add(TVector sum, TVector value, TVector center);

        static abstract float Add(float sum, float value, float center);
    }

    private readonly struct Value : ITerm
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static TVector Add(TVector sum, TVector value, TVector center) => TLanes.Add(sum, value);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static float Add(float sum, float value, float center) => sum + value;
    }

    private readonly struct SquaredDistance : ITerm
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static TVector Add(TVector sum, TVector value, TVector center)
        {
            TVector distance = TLanes.Subtract(value, center);
            return TLanes.MultiplyAdd(distance, distance, sum);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static float Add(float sum, float value, float center) => sum + ((value - center) * (value - center));
    }

    /// <summary>Sum of a term over a row, in an order that depends on the length alone.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static float SumOf<TTerm>(float* x, float center, int length)
        where TTerm : struct, ITerm
    {
        TVector middle = TLanes.Broadcast(center);
        TVector a = TLanes.Zero, b = TLanes.Zero, c = TLanes.Zero, d = TLanes.Zero;
        int j = 0;
        for (; j + (4 * TLanes.Count) <= length; j += 4 * TLanes.Count)
        {
            a = TTerm.Add(a, TLanes.Load(x + j), middle);
            b = TTerm.Add(b, TLanes.Load(x + j + TLanes.Count), middle);
            c = TTerm.Add(c, TLanes.Load(x + j + (2 * TLanes.Count)), middle);
            d = TTerm.Add(d, TLanes.Load(x + j + (3 * TLanes.Count)), middle);
        }

        for (; j + TLanes.Count <= length; j += TLanes.Count)
        {
            a = TTerm.Add(a, TLanes.Load(x + j), middle);
        }

        float sum = 0;
        for (; j < length; j++)
        {
            sum = TTerm.Add(sum, x[j], center);
        }

        return sum + TLanes.SumOf(TLanes.Add(TLanes.Add(a, b), TLanes.Add(c, d)));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static float MaxOf(float* x, int length)
    {
        float max = float.NegativeInfinity;
        int j = 0;
        if (length >= TLanes.Count)
        {
            TVector maxima = TLanes.Load(x);
            for (j = TLanes.Count; j + TLanes.Count <= length; j += TLanes.Count)
            {
                maxima = TLanes.Max(maxima, TLanes.Load(x + j));
            }

            max = TLanes.MaxOf(maxima);
        }

        for (; j < length; j++)
        {
            max = Math.Max(max, x[j]);
        }

        return max;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Multiply(float* x, float factor, float* y, int length)
    {
        TVector factors = TLanes.Broadcast(factor);
        int j = 0;
        for (; j + TLanes.Count <= length; j += TLanes.Count)
        {
            TLanes.Store(y + j, TLanes.Multiply(TLanes.Load(x + j), factors));
        }

        for (; j < length; j++)
        {
            y[j] = x[j] * factor;
        }
    }
}
