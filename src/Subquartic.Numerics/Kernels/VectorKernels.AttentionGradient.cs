using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Subquartic.Numerics.Tensors;
using Subquartic.Numerics.Threading;

namespace Subquartic.Numerics.Kernels;

// The gradient of attention, in two sweeps over a head that share the tiles of the forward pass. In the first the lanes are queries: it finds
// the weights' normalisers and the gradient of the queries. In the second the lanes are keys: it finds the gradients of keys and values from
// weights computed again. A third layout would save one product of seven but would have to add across lanes.
internal sealed unsafe partial class VectorKernels<TLanes, TVector>
{
    /// <summary>Scores and their gradients of a group in the first sweep, in values, stay below half of a 1 MB second-level cache.</summary>
    private const int MaxGradientState = 128 * 1024;

    /// <summary>Exponents of two instead of e.</summary>
    private const float Log2E = 1.44269504f;

    public override void AttentionGradient(
        HeadTensor queries, HeadTensor keys, HeadTensor values, HeadTensor dOutput, float scale,
        HeadTensor dQueries, HeadTensor dKeys, HeadTensor dValues)
    {
        Check.Attention(queries, keys, values, dOutput, default);
        Check.AttentionGradient(queries, keys, values, dQueries, dKeys, dValues);
        if (queries.Rows > 0)
        {
            var body = new AttentionGradientBody(queries, keys, values, dOutput, scale, dQueries, dKeys, dValues);
            Pool.Run(queries.Batch * queries.Heads, ref body);
        }
    }

    /// <summary>The gradients of one head of one image.</summary>
    private readonly struct AttentionGradientBody(
        HeadTensor queries, HeadTensor keys, HeadTensor values, HeadTensor dOutput, float scale,
        HeadTensor dQueries, HeadTensor dKeys, HeadTensor dValues) : IParallelBody
    {
        public void Invoke(int task)
        {
            (int image, int head) = Math.DivRem(task, queries.Heads);
            int l = WholeTiles(queries.Rows);
            int s = WholeTiles(keys.Rows);
            int width = WholeTiles(queries.Width);
            int valueWidth = WholeTiles(values.Width);
            int vectors = Math.Clamp(MaxGradientState / (2 * s * TLanes.Count), 1, MaxGroupVectors);
            int lanes = vectors * TLanes.Count;
            int block = Math.Max(s, KeyBlock);
            using var scratch = Scratch.Rent(
                (long)(l + s) * (width + valueWidth) + 2L * l + (long)lanes * (2 * block + 2 * (width + valueWidth) + 3));
            var work = new GradientWork
            {
                Queries = queries.Rows,
                Keys = keys.Rows,
                Width = width,
                ValueWidth = valueWidth,
                Q = scratch.Pointer,
            };
            work.DOutput = work.Q + (long)l * width;
            work.K = work.DOutput + (long)l * valueWidth;
            work.V = work.K + (long)s * width;
            work.LogSums = work.V + (long)s * valueWidth;
            work.Inner = work.LogSums + l;
            work.Scores = work.Inner + l;
            work.Slopes = work.Scores + (long)lanes * block;
            work.Lanes = work.Slopes + (long)lanes * block;
            CopyBlock(queries[image, head], 0, queries.Rows, work.Q, l, width);
            CopyBlock(dOutput[image, head], 0, queries.Rows, work.DOutput, l, valueWidth);
            CopyBlock(keys[image, head], 0, keys.Rows, work.K, s, width);
            CopyBlock(values[image, head], 0, keys.Rows, work.V, s, valueWidth);

            // Scores in powers of two: Q times scale * log2(e), which the gradient of the keys takes back by ln(2).
            float factor = scale * Log2E;
            for (long i = 0; i < (long)l * width; i++)
            {
                work.Q[i] *= factor;
            }

            for (int first = 0; first < queries.Rows; first += lanes)
            {
                switch (Math.Min(vectors, CeilingDivide(queries.Rows - first, TLanes.Count)))
                {
                    case 1: QuerySweep<One>(work, first, scale, dQueries[image, head]); break;
                    case 2: QuerySweep<Two>(work, first, scale, dQueries[image, head]); break;
                    default: QuerySweep<Three>(work, first, scale, dQueries[image, head]); break;
                }
            }

            for (int first = 0; first < keys.Rows; first += lanes)
            {
                switch (Math.Min(vectors, CeilingDivide(keys.Rows - first, TLanes.Count)))
                {
                    case 1: KeySweep<One>(work, first, dKeys[image, head], dValues[image, head]); break;
                    case 2: KeySweep<Two>(work, first, dKeys[image, head], dValues[image, head]); break;
                    default: KeySweep<Three>(work, first, dKeys[image, head], dValues[image, head]); break;
                }
            }
        }
    }

    /// <summary>Operands of one head, extended to whole tiles, and room for a group.</summary>
    private struct GradientWork
    {
        public int Queries;
        public int Keys;

        /// <summary>Columns of Q and K, and of V and dO, in whole tiles.</summary>
        public int Width;
        public int ValueWidth;

        /// <summary>Q * scale * log2(e), dO, K, V, row-major.</summary>
        public float* Q;
        public float* DOutput;
        public float* K;
        public float* V;

        /// <summary>Per query: log2 of the sum of its weights before normalisation, and D = sum_j P_j (dO.V_j).</summary>
        public float* LogSums;
        public float* Inner;

        /// <summary>(rows, lanes) each; then operands and results of a group, transposed, and one row of ones.</summary>
        public float* Scores;
        public float* Slopes;
        public float* Lanes;
    }

    /// <summary>Lanes are queries: P and dS of a group against all keys, then dQ += scale dS K.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void QuerySweep<TVectors>(in GradientWork work, int first, float scale, Matrix dQueries)
        where TVectors : struct, ICount
    {
        int lanes = TVectors.Value * TLanes.Count;
        float* q = work.Lanes;
        float* dOutput = q + work.Width * lanes;
        float* dQ = dOutput + work.ValueWidth * lanes;
        float* ones = dQ + work.Width * lanes;
        float* maximum = ones + lanes;
        Transpose(work.Q, work.Width, first, work.Queries, lanes, q);
        Transpose(work.DOutput, work.ValueWidth, first, work.Queries, lanes, dOutput);
        new Span<float>(maximum, lanes).Fill(float.NegativeInfinity);
        for (int key = 0; key < work.Keys; key += AttentionTileRows)
        {
            ScoreTile<TVectors>(work.K + (nint)key * work.Width, work.Width, q, work.Width, false, work.Scores + (nint)key * lanes, maximum);
            ScoreTile<TVectors>(
                work.V + (nint)key * work.ValueWidth, work.ValueWidth, dOutput, work.ValueWidth, false, work.Slopes + (nint)key * lanes, null);
        }

        for (int lane = 0; lane < lanes; lane += TLanes.Count)
        {
            TVector max = TLanes.Load(maximum + lane);
            TVector sum = TLanes.Zero;
            TVector inner = TLanes.Zero;
            float* score = work.Scores + lane;
            float* slope = work.Slopes + lane;
            for (int start = 0; start < work.Keys; start += KeyBlock)
            {
                TVector blockSum = TLanes.Zero;
                TVector blockInner = TLanes.Zero;
                for (int key = start; key < Math.Min(start + KeyBlock, work.Keys); key++, score += lanes, slope += lanes)
                {
                    TVector weight = VectorMath<TLanes, TVector>.Exp2(TLanes.Subtract(TLanes.Load(score), max));
                    TLanes.Store(score, weight);
                    blockSum = TLanes.Add(blockSum, weight);
                    blockInner = TLanes.MultiplyAdd(weight, TLanes.Load(slope), blockInner);
                }

                sum = TLanes.Add(sum, blockSum);
                inner = TLanes.Add(inner, blockInner);
            }

            TVector inverse = TLanes.Divide(TLanes.Broadcast(1), sum);
            inner = TLanes.Multiply(inner, inverse);
            score = work.Scores + lane;
            slope = work.Slopes + lane;
            for (int key = 0; key < work.Keys; key++, score += lanes, slope += lanes)
            {
                TVector weight = TLanes.Multiply(TLanes.Load(score), inverse);
                TLanes.Store(score, TLanes.Multiply(weight, TLanes.Subtract(TLanes.Load(slope), inner)));
            }

            TLanes.Store(ones + lane, sum);
            TLanes.Store(maximum + lane, max);
            for (int i = 0; i < TLanes.Count && first + lane + i < work.Queries; i++)
            {
                work.LogSums[first + lane + i] = maximum[lane + i] + MathF.Log2(ones[lane + i]);
            }

            // The row of sums is not needed any more: its place serves D, then the ones.
            TLanes.Store(ones + lane, inner);
            for (int i = 0; i < TLanes.Count && first + lane + i < work.Queries; i++)
            {
                work.Inner[first + lane + i] = ones[lane + i];
            }
        }

        new Span<float>(dQ, lanes * work.Width).Clear();
        new Span<float>(ones, lanes).Fill(1);
        AddProducts<TVectors>(work.K, work.Width, work.Scores, work.Keys, ones, dQ);
        AddTransposed(dQ, lanes, first, scale, dQueries);
    }

    /// <summary>Lanes are keys: P and dS of all queries against a group, then dV += P^T dO and dK += scale dS^T Q.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void KeySweep<TVectors>(in GradientWork work, int first, Matrix dKeys, Matrix dValues)
        where TVectors : struct, ICount
    {
        int lanes = TVectors.Value * TLanes.Count;
        float* k = work.Lanes;
        float* v = k + work.Width * lanes;
        float* dK = v + work.ValueWidth * lanes;
        float* dV = dK + work.Width * lanes;
        float* ones = dV + work.ValueWidth * lanes;
        Transpose(work.K, work.Width, first, work.Keys, lanes, k);
        Transpose(work.V, work.ValueWidth, first, work.Keys, lanes, v);
        new Span<float>(dK, lanes * (work.Width + work.ValueWidth)).Clear();
        new Span<float>(ones, lanes).Fill(1);
        for (int start = 0; start < work.Queries; start += KeyBlock)
        {
            int count = Math.Min(KeyBlock, work.Queries - start);
            for (int query = 0; query < count; query += AttentionTileRows)
            {
                ScoreTile<TVectors>(
                    work.Q + (nint)(start + query) * work.Width, work.Width, k, work.Width, false, work.Scores + (nint)query * lanes, null);
                ScoreTile<TVectors>(
                    work.DOutput + (nint)(start + query) * work.ValueWidth, work.ValueWidth, v, work.ValueWidth, false,
                    work.Slopes + (nint)query * lanes, null);
            }

            float* score = work.Scores;
            float* slope = work.Slopes;
            for (int query = start; query < start + count; query++)
            {
                TVector logSum = TLanes.Broadcast(work.LogSums[query]);
                TVector inner = TLanes.Broadcast(work.Inner[query]);
                for (int lane = 0; lane < lanes; lane += TLanes.Count, score += TLanes.Count, slope += TLanes.Count)
                {
                    TVector weight = VectorMath<TLanes, TVector>.Exp2(TLanes.Subtract(TLanes.Load(score), logSum));
                    TLanes.Store(score, weight);
                    TLanes.Store(slope, TLanes.Multiply(weight, TLanes.Subtract(TLanes.Load(slope), inner)));
                }
            }

            AddProducts<TVectors>(work.DOutput + (nint)start * work.ValueWidth, work.ValueWidth, work.Scores, count, ones, dV);
            AddProducts<TVectors>(work.Q + (nint)start * work.Width, work.Width, work.Slopes, count, ones, dK);
        }

        AddTransposed(dK, lanes, first, 1 / Log2E, dKeys);
        AddTransposed(dV, lanes, first, 1, dValues);
    }

    /// <summary>sum^T (columns, lanes) += rows^T (columns, count) weights (count, lanes), block after block.</summary>
    private static void AddProducts<TVectors>(float* rows, int columns, float* weights, int count, float* ones, float* sum)
        where TVectors : struct, ICount
    {
        int lanes = TVectors.Value * TLanes.Count;
        for (int start = 0; start < count; start += KeyBlock)
        {
            for (int column = 0; column < columns; column += AttentionTileRows)
            {
                ValueTile<TVectors>(
                    rows + (nint)start * columns + column, columns, weights + (nint)start * lanes, Math.Min(KeyBlock, count - start), ones,
                    sum + (nint)column * lanes);
            }
        }
    }

    /// <summary>Rows first … first + lanes - 1 as columns; lanes behind the last row repeat it.</summary>
    private static void Transpose(float* rows, int columns, int first, int count, int lanes, float* target)
    {
        for (int lane = 0; lane < lanes; lane += 4)
        {
            float* row0 = rows + (nint)Math.Min(first + lane, count - 1) * columns;
            float* row1 = rows + (nint)Math.Min(first + lane + 1, count - 1) * columns;
            float* row2 = rows + (nint)Math.Min(first + lane + 2, count - 1) * columns;
            float* row3 = rows + (nint)Math.Min(first + lane + 3, count - 1) * columns;
            float* column = target + lane;
            for (int c = 0; c < columns; c++, column += lanes)
            {
                Vector128.Create(row0[c], row1[c], row2[c], row3[c]).Store(column);
            }
        }
    }

    /// <summary>Adds factor times the columns of a group to the rows of a matrix.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void AddTransposed(float* source, int lanes, int first, float factor, Matrix target)
    {
        for (int lane = 0; lane < lanes && first + lane < target.Rows; lane++)
        {
            float* row = target.Pointer + (nint)(first + lane) * target.Stride;
            float* column = source + lane;
            int c = 0;
            for (; c + 4 <= target.Columns; c += 4, column += 4 * lanes)
            {
                Vector128<float> four = Vector128.Create(column[0], column[lanes], column[2 * lanes], column[3 * lanes]);
                (Vector128.Load(row + c) + four * Vector128.Create(factor)).Store(row + c);
            }

            for (; c < target.Columns; c++, column += lanes)
            {
                row[c] += factor * *column;
            }
        }
    }
}
