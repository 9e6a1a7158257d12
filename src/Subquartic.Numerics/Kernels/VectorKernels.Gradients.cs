using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Subquartic.Numerics.Tensors;
using Subquartic.Numerics.Threading;

namespace Subquartic.Numerics.Kernels;

// Gradients of what stands between the products. Sums over rows and pixels are split at fixed places, so that their bits follow from the shape.
internal sealed unsafe partial class VectorKernels<TLanes, TVector>
{
    // Rows or pixels summed before the sums are added up: keeps the rounding of long sums small.
    private const int RowsPerSum = 64;

    // Rows that a task sums.
    private const int RowsPerSumTask = 1024;

    public override void SiluGradient(ReadOnlySpan<float> x, ReadOnlySpan<float> dy, Span<float> dx, bool add) =>
        MapGradient<SiluSlope>(x, dy, dx, add);

    public override void GeluGradient(ReadOnlySpan<float> x, ReadOnlySpan<float> dy, Span<float> dx, bool add) =>
        MapGradient<GeluSlope>(x, dy, dx, add);

    public override void AddRows(Matrix rows, Span<float> sum)
    {
        Check.AddRows(rows, sum);
        int tasks = DivideUp(rows.Rows, RowsPerSumTask);
        using Scratch sums = Scratch.Rent((long)tasks * rows.Columns);
        var body = new RowSumsBody(rows, sums.Pointer);
        Pool.Run(tasks, ref body);
        for (int task = 0; task < tasks; task++)
        {
            float* part = sums.Pointer + (nint)task * rows.Columns;
            for (int j = 0; j < rows.Columns; j++)
            {
                sum[j] += part[j];
            }
        }

        GC.KeepAlive(rows.Buffer);
    }

    public override void LayerNormGradient(
        Matrix x, Matrix scale, int rowsPerImage, float epsilon, Matrix dy, Matrix dx, bool add, Matrix dScale, Matrix dShift)
    {
        Check.LayerNormGradient(x, scale, rowsPerImage, dy, dx, dScale, dShift);
        var body = new LayerNormGradientBody(x, scale, rowsPerImage, epsilon, dy, dx, add, dScale, dShift);
        Pool.Run(scale.Rows, ref body);
        GC.KeepAlive(x.Buffer);
        GC.KeepAlive(scale.Buffer);
        GC.KeepAlive(dy.Buffer);
        GC.KeepAlive(dx.Buffer);
        GC.KeepAlive(dScale.Buffer);
        GC.KeepAlive(dShift.Buffer);
    }

    public override void NormalizeHeadsGradient(HeadTensor y, ReadOnlySpan<float> factors, HeadTensor lengths, HeadTensor dy, HeadTensor along)
    {
        Check.NormalizeHeadsGradient(y, factors, lengths, dy, along);
        fixed (float* factor = factors)
        {
            RunRows(y.Batch * y.Rows, y.Heads * y.Width, new NormalizeGradientRow(y, factor, lengths, dy, along));
        }

        GC.KeepAlive(y.Buffer);
        GC.KeepAlive(lengths.Buffer);
        GC.KeepAlive(dy.Buffer);
        GC.KeepAlive(along.Buffer);
    }

    private void MapGradient<TFunction>(ReadOnlySpan<float> x, ReadOnlySpan<float> dy, Span<float> dx, bool add)
        where TFunction : struct, IFunction
    {
        Check.ActivationGradient(x, dy, dx);
        fixed (float* source = x, upper = dy, destination = dx)
        {
            RunRows(DivideUp(x.Length, MapLength), MapLength, new MapGradientRow<TFunction>(source, upper, destination, x.Length, add));
        }
    }

    private readonly struct SiluSlope : IFunction
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static TVector Invoke(TVector x) => VectorMath<TLanes, TVector>.SiluSlope(x);
    }

    private readonly struct GeluSlope : IFunction
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static TVector Invoke(TVector x) => VectorMath<TLanes, TVector>.GeluTanhSlope(x);
    }

    /// <summary>dx = dy f'(x), or dx += dy f'(x), of one stretch.</summary>
    private readonly struct MapGradientRow<TFunction>(float* source, float* upper, float* destination, int length, bool add) : IParallelBody
        where TFunction : struct, IFunction
    {
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Invoke(int task)
        {
            nint start = (nint)task * MapLength;
            int count = Math.Min(MapLength, length - (int)start);
            float* x = source + start;
            float* dy = upper + start;
            float* dx = destination + start;
            int j = 0;
            for (; j + TLanes.Count <= count; j += TLanes.Count)
            {
                TVector slope = TFunction.Invoke(TLanes.Load(x + j));
                TLanes.Store(dx + j, TLanes.MultiplyAdd(TLanes.Load(dy + j), slope, add ? TLanes.Load(dx + j) : TLanes.Zero));
            }

            int rest = count - j;
            TVector last = TFunction.Invoke(VectorMath<TLanes, TVector>.LoadFirst(x + j, rest));
            TVector before = add ? VectorMath<TLanes, TVector>.LoadFirst(dx + j, rest) : TLanes.Zero;
            last = TLanes.MultiplyAdd(VectorMath<TLanes, TVector>.LoadFirst(dy + j, rest), last, before);
            VectorMath<TLanes, TVector>.StoreFirst(dx + j, last, rest);
        }
    }

    /// <summary>The sum of up to <see cref="RowsPerSumTask"/> rows.</summary>
    private readonly struct RowSumsBody(Matrix rows, float* sums) : IParallelBody
    {
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Invoke(int task)
        {
            float* sum = sums + (nint)task * rows.Columns;
            int end = Math.Min(rows.Rows, (task + 1) * RowsPerSumTask);
            new Span<float>(sum, rows.Columns).Clear();
            for (int start = task * RowsPerSumTask; start < end; start += RowsPerSum)
            {
                int count = Math.Min(RowsPerSum, end - start);
                float* first = rows.Pointer + (nint)start * rows.Stride;
                int j = 0;
                for (; j + 2 * TLanes.Count <= rows.Columns; j += 2 * TLanes.Count)
                {
                    TVector left = TLanes.Zero, right = TLanes.Zero;
                    float* value = first + j;
                    for (int i = 0; i < count; i++, value += rows.Stride)
                    {
                        left = TLanes.Add(left, TLanes.Load(value));
                        right = TLanes.Add(right, TLanes.Load(value + TLanes.Count));
                    }

                    TLanes.Store(sum + j, TLanes.Add(TLanes.Load(sum + j), left));
                    TLanes.Store(sum + j + TLanes.Count, TLanes.Add(TLanes.Load(sum + j + TLanes.Count), right));
                }

                for (; j < rows.Columns; j++)
                {
                    float total = 0;
                    for (nint i = 0; i < count; i++)
                    {
                        total += first[i * rows.Stride + j];
                    }

                    sum[j] += total;
                }
            }
        }
    }

    /// <summary>With g = dy (1 + scale) and n the normalised row: dx = (g - mean(g) - n mean(g n)) / deviation. A task is an image, whose rows share
    /// the gradients of scale and shift.</summary>
    private readonly struct LayerNormGradientBody(
        Matrix x, Matrix scale, int rowsPerImage, float epsilon, Matrix dy, Matrix dx, bool add, Matrix dScale, Matrix dShift) : IParallelBody
    {
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Invoke(int task)
        {
            int columns = x.Columns;
            using Scratch sums = Scratch.Rent(2L * columns);
            float* scales = sums.Pointer;
            float* shifts = scales + columns;
            new Span<float>(scales, 2 * columns).Clear();
            float* factor = scale.Pointer + (nint)task * scale.Stride;
            for (int i = task * rowsPerImage; i < (task + 1) * rowsPerImage; i++)
            {
                Row(x.Pointer + (nint)i * x.Stride, factor, dy.Pointer + (nint)i * dy.Stride, dx.Buffer is null ? null : dx.Pointer + (nint)i * dx.Stride, scales, shifts);
            }

            if (dScale.Buffer is not null)
            {
                for (int j = 0; j < columns; j++)
                {
                    dScale.Pointer[(nint)task * dScale.Stride + j] += scales[j];
                    dShift.Pointer[(nint)task * dShift.Stride + j] += shifts[j];
                }
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private void Row(float* row, float* factor, float* upper, float* result, float* scales, float* shifts)
        {
            int columns = x.Columns;
            float mean = SumOf<Value>(row, 0, columns) / columns;
            float inverse = (float)(1 / Math.Sqrt((SumOf<SquaredDistance>(row, mean, columns) / (double)columns) + epsilon));
            TVector center = TLanes.Broadcast(mean), deviation = TLanes.Broadcast(inverse), one = TLanes.Broadcast(1f);
            TVector sum = TLanes.Zero, product = TLanes.Zero;
            int whole = columns / TLanes.Count * TLanes.Count;
            for (int j = 0; j < whole; j += TLanes.Count)
            {
                TVector normed = TLanes.Multiply(TLanes.Subtract(TLanes.Load(row + j), center), deviation);
                TVector dy = TLanes.Load(upper + j);
                TVector g = TLanes.Multiply(dy, TLanes.Add(one, TLanes.Load(factor + j)));
                sum = TLanes.Add(sum, g);
                product = TLanes.MultiplyAdd(g, normed, product);
                TLanes.Store(scales + j, TLanes.MultiplyAdd(dy, normed, TLanes.Load(scales + j)));
                TLanes.Store(shifts + j, TLanes.Add(TLanes.Load(shifts + j), dy));
            }

            float average = TLanes.SumOf(sum);
            float along = TLanes.SumOf(product);
            for (int j = whole; j < columns; j++)
            {
                float normed = (row[j] - mean) * inverse;
                float g = upper[j] * (1 + factor[j]);
                average += g;
                along += g * normed;
                scales[j] += upper[j] * normed;
                shifts[j] += upper[j];
            }

            if (result is null)
            {
                return;
            }

            average /= columns;
            along /= columns;
            TVector middle = TLanes.Broadcast(average), slope = TLanes.Broadcast(-along);
            for (int j = 0; j < whole; j += TLanes.Count)
            {
                TVector normed = TLanes.Multiply(TLanes.Subtract(TLanes.Load(row + j), center), deviation);
                TVector g = TLanes.Multiply(TLanes.Load(upper + j), TLanes.Add(one, TLanes.Load(factor + j)));
                g = TLanes.MultiplyAdd(normed, slope, TLanes.Subtract(g, middle));
                TLanes.Store(result + j, TLanes.MultiplyAdd(g, deviation, add ? TLanes.Load(result + j) : TLanes.Zero));
            }

            for (int j = whole; j < columns; j++)
            {
                float normed = (row[j] - mean) * inverse;
                float g = upper[j] * (1 + factor[j]);
                result[j] = (add ? result[j] : 0) + (g - average - normed * along) * inverse;
            }
        }
    }

    /// <summary>All heads of one token. Heads are narrow, so four lanes at any width.</summary>
    private readonly struct NormalizeGradientRow(HeadTensor y, float* factors, HeadTensor lengths, HeadTensor dy, HeadTensor along) : IParallelBody
    {
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Invoke(int task)
        {
            (int image, int row) = Math.DivRem(task, y.Rows);
            int width = y.Width;
            for (int head = 0; head < y.Heads; head++)
            {
                float factor = factors is null ? 1 : factors[head];
                float* value = Place(y, image, head, row);
                float* gradient = Place(dy, image, head, row);
                Vector128<float> products = Vector128<float>.Zero;
                int j = 0;
                for (; j + 4 <= width; j += 4)
                {
                    products += Vector128.Load(value + j) * Vector128.Load(gradient + j);
                }

                float inner = Vector128.Sum(products);
                for (; j < width; j++)
                {
                    inner += value[j] * gradient[j];
                }

                inner /= factor;
                float slope = -inner / factor;
                float scale = factor / *Place(lengths, image, head, row);
                for (j = 0; j + 4 <= width; j += 4)
                {
                    ((Vector128.Load(gradient + j) + Vector128.Load(value + j) * slope) * scale).Store(gradient + j);
                }

                for (; j < width; j++)
                {
                    gradient[j] = (gradient[j] + value[j] * slope) * scale;
                }

                if (along.Buffer is not null)
                {
                    *Place(along, image, head, row) = inner;
                }
            }
        }

        private static float* Place(HeadTensor x, int image, int head, int row) =>
            x.Buffer.Pointer + x.Offset + (image * x.BatchStride) + (head * x.HeadStride) + ((nint)row * x.RowStride);
    }
}
