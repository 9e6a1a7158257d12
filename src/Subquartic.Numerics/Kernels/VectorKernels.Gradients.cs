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

    public override void GroupNormGradient(
        FeatureMap x, ReadOnlySpan<float> weight, int groups, Matrix scale, Matrix shift, Matrix inverse, Matrix offset, bool silu,
        FeatureMap dy, FeatureMap dx, bool add, Span<float> dWeight, Span<float> dBias)
    {
        Check.GroupNormGradient(x, weight, groups, scale, shift, inverse, offset, dy, dx, dWeight, dBias);
        if (x.Length == 0)
        {
            return;
        }

        int channels = x.Channels;
        using Scratch sums = Scratch.Rent(2L * x.Batch * channels);
        fixed (float* weights = weight)
        {
            var body = new GroupNormGradientBody
            {
                X = x,
                Weight = weights,
                Groups = groups,
                Scale = scale,
                Shift = shift,
                Inverse = inverse,
                Offset = offset,
                Silu = silu,
                Upper = dy,
                Result = dx,
                Add = add,
                Sums = sums.Pointer,
            };
            Pool.Run(x.Batch, ref body);
        }

        for (int image = 0; image < x.Batch; image++)
        {
            float* parts = sums.Pointer + 2L * image * channels;
            for (int c = 0; c < channels; c++)
            {
                dBias[c] += parts[c];
                dWeight[c] += parts[channels + c];
            }
        }

        GC.KeepAlive(x.Buffer);
        GC.KeepAlive(dy.Buffer);
        GC.KeepAlive(dx.Buffer);
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

    /// <summary>One image. With n = x inverse + offset, z = n w + b = x scale + shift, y = act(z), dz = dy act'(z), g = dz w and means over the group:
    /// dx = (g - mean(g) - n mean(g n)) inverse, dw = sum dz n, db = sum dz. dz waits where dx will be, or beside it when that is added to.</summary>
    private struct GroupNormGradientBody : IParallelBody
    {
        public FeatureMap X;
        public float* Weight;
        public int Groups;
        public Matrix Scale;
        public Matrix Shift;
        public Matrix Inverse;
        public Matrix Offset;
        public bool Silu;
        public FeatureMap Upper;
        public FeatureMap Result;
        public bool Add;
        public float* Sums;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Invoke(int task)
        {
            int channels = X.Channels;
            int pixels = X.Height * X.Width;
            nint start = (nint)task * pixels * channels;
            float* dBias = Sums + 2L * task * channels;
            float* dWeight = dBias + channels;
            float* scale = Scale.Pointer + (nint)task * Scale.Stride;
            float* shift = Shift.Pointer + (nint)task * Shift.Stride;
            float* inverse = Inverse.Pointer + (nint)task * Inverse.Stride;
            float* offset = Offset.Pointer + (nint)task * Offset.Stride;
            new Span<float>(dBias, 2 * channels).Clear();
            bool wanted = Result.Buffer is not null;
            using Scratch beside = Scratch.Rent(wanted && !Add ? 0 : (long)pixels * channels);
            float* kept = wanted && !Add ? Result.Pointer + start : beside.Pointer;
            int whole = channels / TLanes.Count * TLanes.Count;
            for (int pixel = 0; pixel < pixels; pixel += RowsPerSum)
            {
                int count = Math.Min(RowsPerSum, pixels - pixel);
                nint place = (nint)pixel * channels;
                for (int c = 0; c < channels; c += TLanes.Count)
                {
                    var columns = new GroupNormColumns
                    {
                        X = X.Pointer + start + place + c,
                        Upper = Upper.Pointer + start + place + c,
                        Kept = kept + place + c,
                        First = scale + c,
                        Second = shift + c,
                        Third = inverse + c,
                        Fourth = offset + c,
                        Sum = dBias + c,
                        Weighted = dWeight + c,
                        Lanes = Math.Min(TLanes.Count, channels - c),
                    };
                    switch (Silu, c < whole)
                    {
                        case (true, true): Slopes<Yes, Yes>(columns, count, channels); break;
                        case (true, false): Slopes<Yes, No>(columns, count, channels); break;
                        case (false, true): Slopes<No, Yes>(columns, count, channels); break;
                        default: Slopes<No, No>(columns, count, channels); break;
                    }
                }
            }

            if (!wanted)
            {
                return;
            }

            // dx = dz (w inverse) - (mean(g) + n mean(g n)) inverse = dz scale + x factor + rest.
            using Scratch scratch = Scratch.Rent(2L * channels);
            float* factor = scratch.Pointer;
            float* rest = factor + channels;
            int width = channels / Groups;
            for (int first = 0; first < channels; first += width)
            {
                double mean = 0;
                double along = 0;
                for (int c = first; c < first + width; c++)
                {
                    mean += (double)dBias[c] * Weight[c];
                    along += (double)dWeight[c] * Weight[c];
                }

                mean /= (double)pixels * width;
                along /= (double)pixels * width;
                for (int c = first; c < first + width; c++)
                {
                    factor[c] = (float)(-along * inverse[c] * inverse[c]);
                    rest[c] = (float)(-(mean + along * offset[c]) * inverse[c]);
                }
            }

            for (int pixel = 0; pixel < pixels; pixel += RowsPerSum)
            {
                int count = Math.Min(RowsPerSum, pixels - pixel);
                nint place = (nint)pixel * channels;
                for (int c = 0; c < channels; c += TLanes.Count)
                {
                    var columns = new GroupNormColumns
                    {
                        X = X.Pointer + start + place + c,
                        Upper = Result.Pointer + start + place + c,
                        Kept = kept + place + c,
                        First = scale + c,
                        Second = factor + c,
                        Third = rest + c,
                        Lanes = Math.Min(TLanes.Count, channels - c),
                    };
                    switch (Add, c < whole)
                    {
                        case (true, true): InputGradient<Yes, Yes>(columns, count, channels); break;
                        case (true, false): InputGradient<Yes, No>(columns, count, channels); break;
                        case (false, true): InputGradient<No, Yes>(columns, count, channels); break;
                        default: InputGradient<No, No>(columns, count, channels); break;
                    }
                }
            }
        }

        /// <summary>dz of a vector of channels of some pixels, and their share of the sums.</summary>
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private static void Slopes<TSilu, TWhole>(in GroupNormColumns columns, int count, nint channels)
            where TSilu : struct, IFlag
            where TWhole : struct, IFlag
        {
            int lanes = columns.Lanes;
            TVector scale = Load<TWhole>(columns.First, lanes), shift = Load<TWhole>(columns.Second, lanes);
            TVector inverse = Load<TWhole>(columns.Third, lanes), offset = Load<TWhole>(columns.Fourth, lanes);
            TVector sum = TLanes.Zero, weighted = TLanes.Zero;
            float* x = columns.X;
            float* dy = columns.Upper;
            float* kept = columns.Kept;
            for (int i = 0; i < count; i++, x += channels, dy += channels, kept += channels)
            {
                TVector value = Load<TWhole>(x, lanes);
                TVector dz = Load<TWhole>(dy, lanes);
                if (TSilu.Value)
                {
                    dz = TLanes.Multiply(dz, VectorMath<TLanes, TVector>.SiluSlope(TLanes.MultiplyAdd(value, scale, shift)));
                }

                Store<TWhole>(kept, dz, lanes);
                sum = TLanes.Add(sum, dz);
                weighted = TLanes.MultiplyAdd(dz, TLanes.MultiplyAdd(value, inverse, offset), weighted);
            }

            Store<TWhole>(columns.Sum, TLanes.Add(Load<TWhole>(columns.Sum, lanes), sum), lanes);
            Store<TWhole>(columns.Weighted, TLanes.Add(Load<TWhole>(columns.Weighted, lanes), weighted), lanes);
        }

        /// <summary>dx of a vector of channels of some pixels.</summary>
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private static void InputGradient<TAdd, TWhole>(in GroupNormColumns columns, int count, nint channels)
            where TAdd : struct, IFlag
            where TWhole : struct, IFlag
        {
            int lanes = columns.Lanes;
            TVector scale = Load<TWhole>(columns.First, lanes), factor = Load<TWhole>(columns.Second, lanes), rest = Load<TWhole>(columns.Third, lanes);
            float* x = columns.X;
            float* dx = columns.Upper;
            float* kept = columns.Kept;
            for (int i = 0; i < count; i++, x += channels, dx += channels, kept += channels)
            {
                TVector gradient = TLanes.MultiplyAdd(Load<TWhole>(kept, lanes), scale, TLanes.MultiplyAdd(Load<TWhole>(x, lanes), factor, rest));
                Store<TWhole>(dx, TAdd.Value ? TLanes.Add(Load<TWhole>(dx, lanes), gradient) : gradient, lanes);
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static TVector Load<TWhole>(float* source, int lanes)
            where TWhole : struct, IFlag => TWhole.Value ? TLanes.Load(source) : VectorMath<TLanes, TVector>.LoadFirst(source, lanes);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static void Store<TWhole>(float* destination, TVector value, int lanes)
            where TWhole : struct, IFlag
        {
            if (TWhole.Value)
            {
                TLanes.Store(destination, value);
            }
            else
            {
                VectorMath<TLanes, TVector>.StoreFirst(destination, value, lanes);
            }
        }
    }

    /// <summary>A vector of channels: first pixel of the maps, and what belongs to the channels.</summary>
    private struct GroupNormColumns
    {
        public float* X;
        public float* Upper;
        public float* Kept;
        public float* First;
        public float* Second;
        public float* Third;
        public float* Fourth;
        public float* Sum;
        public float* Weighted;
        public int Lanes;
    }

    /// <summary>A decision the compiler knows.</summary>
    private interface IFlag
    {
        static abstract bool Value { get; }
    }

    private readonly struct Yes : IFlag
    {
        public static bool Value => true;
    }

    private readonly struct No : IFlag
    {
        public static bool Value => false;
    }
}
