using System.Runtime.CompilerServices;
using Subquartic.Numerics.Tensors;
using Subquartic.Numerics.Threading;

namespace Subquartic.Numerics.Kernels;

// The gradient of group normalisation, with or without the activation behind it.
internal sealed unsafe partial class VectorKernels<TLanes, TVector>
{
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
