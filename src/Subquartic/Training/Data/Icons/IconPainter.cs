using System.Numerics;
using Subquartic.Numerics.Threading;

namespace Subquartic.Training.Data.Icons;

/// <summary>Draws the icons: one method per class, each of which takes its attributes from the stream of (class, index), paints
/// its parts from back to front, and returns its main colour, after which the background is chosen.</summary>
/// <remarks>Drawings fill about -1 to 1 of their own frame.</remarks>
internal static partial class IconPainter
{
    /// <summary>Draws one icon. Thread-safe; the same bytes on every machine.</summary>
    /// <param name="icon">The class.</param>
    /// <param name="index">Which of its icons.</param>
    /// <param name="size">Side in pixels.</param>
    /// <param name="rgb">Size x size x 3 bytes, rows from the top; overwritten.</param>
    public static void Draw(IconClass icon, long index, int size, Span<byte> rgb)
    {
        using Scratch memory = Scratch.Rent(IconCanvas.MemoryLength(size));
        var random = new IconRandom((int)icon, index);
        var canvas = new IconCanvas(size, random.Range(-0.16f, 0.16f), memory.Buffer.Span(0, IconCanvas.MemoryLength(size)));
        Oklch main = icon switch
        {
            IconClass.Apple => Apple(canvas, ref random),
            IconClass.Boat => Boat(canvas, ref random),
            IconClass.Butterfly => Butterfly(canvas, ref random),
            IconClass.Cloud => Cloud(canvas, ref random),
            IconClass.Cup => Cup(canvas, ref random),
            IconClass.Fish => Fish(canvas, ref random),
            IconClass.Flower => Flower(canvas, ref random),
            IconClass.Heart => Heart(canvas, ref random),
            IconClass.House => House(canvas, ref random),
            IconClass.Key => Key(canvas, ref random),
            IconClass.Moon => Moon(canvas, ref random),
            IconClass.Mushroom => Mushroom(canvas, ref random),
            IconClass.Star => Star(canvas, ref random),
            IconClass.Sun => Sun(canvas, ref random),
            IconClass.Tree => Tree(canvas, ref random),
            IconClass.Umbrella => Umbrella(canvas, ref random),
            IconClass.Rocket => Rocket(canvas, ref random),
            _ => throw new ArgumentOutOfRangeException(nameof(icon), icon, "There is no such class."),
        };
        canvas.Finish(Around(main, ref random), rgb);
    }

    // Hues that go with the main one (opposite, triad, neighbours), and a lightness well away from it.
    private static Backdrop Around(Oklch main, ref IconRandom random)
    {
        float hue = main.Hue + random.Pick(0.5f, 0.42f, 0.58f, 0.36f, -0.36f, 0.13f, -0.13f) + random.Range(-0.03f, 0.03f);
        float lightness = main.Lightness > 0.8f
            ? random.Pick(0.36f, 0.5f, 0.62f)
            : random.Pick(0.9f, 0.9f, 0.86f, 0.34f);
        lightness += random.Range(-0.03f, 0.03f);
        hue -= MathF.Floor(hue);
        if (lightness < 0.7f && hue is > 0.04f and < 0.48f)
        {
            hue += 0.46f; // a dark yellow or green looks like mud; a night sky or a plum does not
        }

        float chroma = lightness > 0.8f ? 0.055f : 0.085f;
        bool lightRim = random.Chance(0.65f);
        float disc = random.Chance(0.35f) ? random.Range(0.78f, 0.92f) : 0;
        return new Backdrop(
            From: new Oklch(lightness + 0.05f, chroma, hue + 0.025f).ToRgb(),
            To: new Oklch(lightness - 0.06f, chroma * 1.25f, hue - 0.035f).ToRgb(),
            Turns: random.Range(0, 1),
            Disc: new Oklch(lightness + random.Pick(-0.07f, 0.05f), chroma, hue + random.Range(-0.06f, 0.06f)).ToRgb(),
            DiscRadius: disc,
            Shadow: new Oklch(lightness * 0.45f, 0.06f, hue).ToRgb(),
            ShadowStrength: random.Range(0.3f, 0.5f),
            Outline: lightRim ? new Oklch(0.985f, 0.01f, main.Hue).ToRgb() : new Oklch(0.3f, 0.07f, main.Hue).ToRgb(),
            OutlineWidth: random.Chance(0.6f) ? random.Range(0.045f, 0.075f) : 0);
    }

    private static Frame Place(ref IconRandom random, float turns = 0.03f, float low = 0.58f, float high = 0.74f, float spread = 0.1f)
    {
        float scale = random.Range(low, high);
        return Frame.Picture.At(random.Range(-spread, spread), random.Range(-spread, spread), scale, random.Range(-turns, turns));
    }

    private static void StarCorners(Span<Vector2> corners, float outer, float inner)
    {
        for (int i = 0; i < corners.Length; i++)
        {
            (float sin, float cos) = Frame.SinCos((float)i / corners.Length);
            corners[i] = new Vector2(sin, cos) * (i % 2 == 0 ? outer : inner);
        }
    }

    private static Oklch Sun(in IconCanvas canvas, ref IconRandom random)
    {
        Frame at = Place(ref random, turns: 0.5f, high: 0.78f);
        var yellow = new Oklch(random.Range(0.8f, 0.88f), 0.17f, random.Range(0.19f, 0.27f));
        var ray = yellow with { Lightness = yellow.Lightness - random.Range(0.04f, 0.1f), Hue = yellow.Hue - random.Range(0.03f, 0.08f) };
        int rays = random.Integer(7, 12);
        float body = random.Range(0.46f, 0.56f), length = random.Range(0.88f, 1), width = random.Range(0.07f, 0.1f);
        bool pointed = random.Chance(0.5f), alternate = rays % 2 == 0 && random.Chance(0.5f);
        for (int i = 0; i < rays; i++)
        {
            float end = alternate && i % 2 == 1 ? length - 0.14f : length;
            Frame turned = at.At(0, 0, 1, (float)i / rays);
            if (pointed)
            {
                canvas.Add(turned, new Polygon([new(-width * 1.9f, body + 0.1f), new(width * 1.9f, body + 0.1f), new(0, end)], 0.03f));
            }
            else
            {
                canvas.Add(turned, new Capsule(0, body + 0.2f, 0, end - width, width));
            }
        }

        canvas.Fill(Paint.Of(ray));
        canvas.Add(at, new Circle(0, 0, body));
        canvas.Fill(Paint.Of(yellow, 1, 0.3f));
        if (random.Chance(0.5f))
        {
            canvas.Add(at, new Circle(0, 0, body * 0.68f));
            canvas.FillInside(Paint.Of(yellow with { Lightness = yellow.Lightness + 0.05f }, 0.6f, 0));
        }

        return ray;
    }

    private static Oklch Moon(in IconCanvas canvas, ref IconRandom random)
    {
        Frame at = Place(ref random, turns: 0.08f).Flip(random.Chance(0.5f));
        var silver = new Oklch(random.Range(0.84f, 0.92f), random.Range(0.02f, 0.12f), random.Pick(0.25f, 0.27f, 0.3f, 0.7f));
        float bite = random.Range(0.36f, 0.56f);
        canvas.Add(at, new Circle(-0.08f, 0, 0.9f));
        canvas.Cut(at, new Circle(bite, random.Range(0.1f, 0.3f), random.Range(0.66f, 0.74f)));
        canvas.Fill(Paint.Of(silver, 1, 0.25f));
        int craters = random.Integer(0, 3);
        ReadOnlySpan<Vector2> places = [new(-0.62f, -0.08f), new(-0.3f, -0.62f), new(-0.62f, 0.34f)];
        for (int i = 0; i < craters; i++)
        {
            canvas.Add(at, new Circle(places[i].X, places[i].Y, random.Range(0.08f, 0.13f)));
        }

        canvas.FillInside(Paint.Of(silver with { Lightness = silver.Lightness - 0.1f }, -0.5f, 0.1f));
        int stars = random.Integer(0, 3);
        Span<Vector2> corners = stackalloc Vector2[8];
        StarCorners(corners, 0.19f, 0.08f);
        places = [new(0.42f, 0.16f), new(0.86f, -0.3f), new(0.84f, 0.58f)];
        for (int i = 0; i < stars; i++)
        {
            canvas.Add(at.At(places[i].X, places[i].Y, random.Range(0.8f, 1.15f)), new Polygon(corners, 0.02f));
        }

        canvas.Fill(Paint.Of(new Oklch(0.93f, 0.08f, 0.27f), 0.5f));
        return silver;
    }

    private static Oklch Star(in IconCanvas canvas, ref IconRandom random)
    {
        Frame at = Place(ref random, turns: 0.06f, low: 0.6f, high: 0.8f);
        var gold = Oklch.Bright(random.Range(0.74f, 0.84f), 0.16f, random.Pick(0.2f, 0.23f, 0.26f, 0.23f, 0.05f, 0.66f, 0.9f) + random.Range(-0.02f, 0.02f));
        Span<Vector2> corners = stackalloc Vector2[random.Chance(0.8f) ? 10 : 12];
        float inner = random.Range(0.4f, 0.52f), round = random.Range(0.03f, 0.14f);
        StarCorners(corners, 1 - round, inner - (round * 0.5f));
        canvas.Add(at, new Polygon(corners, round));
        canvas.Fill(Paint.Of(gold, 1, 0.22f));
        switch (random.Integer(0, 2))
        {
            case 0:
                canvas.Add(at.At(0, 0, 0.58f), new Polygon(corners, round));
                canvas.FillInside(Paint.Of(gold with { Lightness = gold.Lightness + 0.07f }, 0.6f, 0));
                break;
            case 1:
                // Every second half of a point lies in the shade, as on a folded star.
                for (int i = 0; i < corners.Length; i += 2)
                {
                    canvas.Add(at, new Polygon([Vector2.Zero, corners[i] * 1.3f, corners[i + 1] * 1.3f]));
                }

                canvas.FillInside(Paint.Of(gold with { Lightness = gold.Lightness - 0.07f }, 0.6f, 0));
                break;
        }

        return gold;
    }

    private static Oklch Heart(in IconCanvas canvas, ref IconRandom random)
    {
        Frame at = Place(ref random, turns: 0.06f, low: 0.62f, high: 0.84f);
        var red = new Oklch(random.Range(0.56f, 0.72f), random.Range(0.17f, 0.23f), random.Pick(0.07f, 0.05f, 0.02f, 0.97f, 0.9f, 0.09f) + random.Range(-0.015f, 0.015f));
        bool two = random.Chance(0.25f);
        if (two)
        {
            canvas.Add(at.At(random.Pick(-0.62f, 0.62f), -0.5f, 0.5f, random.Range(-0.05f, 0.05f)), default(Heart));
            canvas.Fill(Paint.Of(red with { Lightness = red.Lightness + 0.1f, Chroma = red.Chroma * 0.75f }, 1, 0.15f));
        }

        Frame heart = two ? at.At(0, 0.12f, 0.88f) : at.At(0, 0, 1, 0);
        canvas.Add(heart, default(Heart));
        canvas.Fill(Paint.Of(red, 1.1f, random.Range(0.15f, 0.35f)));
        switch (random.Integer(0, 2))
        {
            case 0:
                canvas.Add(heart.At(0, 0.02f, 0.62f), default(Heart));
                canvas.FillInside(Paint.Of(red with { Lightness = red.Lightness + 0.09f }, 0.8f, 0));
                break;
            case 1:
                canvas.Add(heart.At(-0.42f, 0.42f, 1, -0.12f), new Ellipse(0, 0, 0.11f, 0.2f));
                canvas.FillInside(Paint.Of(new Oklch(0.95f, 0.03f, red.Hue), 0.3f, 0));
                break;
        }

        return red;
    }

    private static Oklch Flower(in IconCanvas canvas, ref IconRandom random)
    {
        Frame at = Place(ref random, turns: 0.03f, low: 0.66f, high: 0.8f);
        var petal = Oklch.Bright(random.Range(0.66f, 0.86f), random.Range(0.12f, 0.18f), random.Pick(0.97f, 0.9f, 0.83f, 0.02f, 0.1f, 0.25f, 0.75f) + random.Range(-0.02f, 0.02f));
        var green = new Oklch(random.Range(0.55f, 0.66f), 0.14f, random.Range(0.37f, 0.43f));
        float bend = random.Range(-0.1f, 0.1f);
        canvas.Add(at, new Capsule(bend, -1.05f, 0, 0.2f, 0.065f));
        canvas.Fill(Paint.Of(green));
        canvas.Add(at, new Leaf(bend, -0.95f, 0.55f, -0.55f, 0.14f));
        if (random.Chance(0.7f))
        {
            canvas.Add(at, new Leaf(bend, -0.95f, -0.55f, -0.5f, 0.14f));
        }

        canvas.Fill(Paint.Of(green with { Lightness = green.Lightness + 0.04f }));
        int petals = random.Integer(5, 8);
        bool pointed = random.Chance(0.35f);
        float reach = random.Range(0.6f, 0.68f), width = 1.5f / petals;
        Frame blossom = at.At(0, 0.3f, 1, random.Range(0, 1f / petals));
        for (int i = 0; i < petals; i++)
        {
            Frame turned = blossom.At(0, 0, 1, (float)i / petals);
            if (pointed)
            {
                canvas.Add(turned, new Leaf(0, 0.1f, 0, reach + 0.1f, width * 0.85f));
            }
            else
            {
                canvas.Add(turned, new Capsule(0, 0.12f, 0, reach - width, width * 0.6f, width));
            }
        }

        canvas.Fill(Paint.Of(petal, 1, 0.14f));
        bool dark = random.Chance(0.4f);
        canvas.Add(blossom, new Circle(0, 0, random.Range(0.2f, 0.26f)));
        canvas.Fill(Paint.Of(dark ? new Oklch(0.42f, 0.08f, 0.14f) : new Oklch(0.86f, 0.16f, 0.25f)));
        return petal;
    }

    private static Oklch Tree(in IconCanvas canvas, ref IconRandom random)
    {
        Frame at = Place(ref random, turns: 0.015f, low: 0.66f, high: 0.82f);
        var leaves = Oklch.Bright(random.Range(0.55f, 0.7f), 0.15f, random.Pick(0.36f, 0.39f, 0.42f, 0.39f, 0.33f, 0.13f, 0.2f, 0.98f));
        var bark = new Oklch(random.Range(0.42f, 0.52f), 0.07f, random.Range(0.12f, 0.17f));
        canvas.Add(at, new Capsule(0, -0.98f, 0, 0, random.Range(0.13f, 0.18f), 0.09f));
        canvas.Clip(at, new HalfPlane(0, -1, 0.98f));
        canvas.Fill(Paint.Of(bark));
        if (random.Chance(0.4f))
        {
            int tiers = random.Integer(2, 4);
            leaves = leaves with { Hue = random.Range(0.38f, 0.46f), Lightness = leaves.Lightness - 0.05f };
            for (int i = 0; i < tiers; i++)
            {
                float bottom = -0.55f + (i * 1.1f / tiers), half = 0.7f - (0.36f * i / tiers), top = Math.Min(bottom + 0.85f, 0.98f);
                canvas.Add(at, new Polygon([new(-half, bottom), new(half, bottom), new(0, top)], 0.05f));
                canvas.Fill(Paint.Of(leaves with { Lightness = leaves.Lightness + (0.04f * i) }));
            }

            return leaves;
        }

        float wide = random.Range(0.38f, 0.5f), high = random.Range(0.45f, 0.62f);
        canvas.Add(at, new Circle(0, high, random.Range(0.38f, 0.44f)));
        canvas.Blend(at, new Mirrored<Circle>(new Circle(wide, 0.16f, random.Range(0.34f, 0.42f))), 0.1f);
        canvas.Blend(at, new Circle(0, 0.05f, 0.4f), 0.1f);
        canvas.Fill(Paint.Of(leaves, 1.2f, 0.3f));
        int fruits = random.Integer(0, 5);
        ReadOnlySpan<Vector2> places = [new(-0.35f, 0.1f), new(0.3f, 0.3f), new(-0.05f, 0.55f), new(0.05f, -0.08f), new(0.5f, -0.02f)];
        for (int i = 0; i < fruits; i++)
        {
            canvas.Add(at, new Circle(places[i].X, places[i].Y, 0.095f));
        }

        canvas.FillInside(Paint.Of(new Oklch(0.62f, 0.2f, random.Pick(0.06f, 0.15f, 0.97f)), 0.8f));
        return leaves;
    }
}
